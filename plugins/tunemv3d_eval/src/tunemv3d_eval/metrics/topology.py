"""How the field's surface hangs together: parts, handles and what floats."""

from collections.abc import Mapping

import numpy as np

from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.slots import Figure, HasSurface, MeasuredObject, Need
from tunemv3d_eval.metrics.geometry_spec import TopologySpec
from tunemv3d_eval.metrics.surface import Triangles, extract, genus, is_closed, parts_of, require
from tunemv3d_eval.scoring.measure import fuse_object

MOST = 100
"""Parts and handles are counted up to here."""


SPECK = 0.001
"""Share of the area under which a part is a speck, as where a surface runs out of the sphere, and is not counted."""


def topology(surface: Triangles) -> tuple[int, bool, int | None, float]:
    """Return the number of parts, whether all is closed, the handles of the largest part, and what is not part of it.

    The last is a share of the area. Handles are None where the largest part is not closed.
    """
    part = parts_of(surface)
    areas = np.bincount(part, np.linalg.norm(surface.crosses(), axis=1))
    largest = surface.faces[part == areas.argmax()]
    handles = genus(largest) if is_closed(largest) else None
    return (
        int((areas >= SPECK * areas.sum()).sum()),
        is_closed(surface.faces),
        handles,
        float(1 - areas.max() / areas.sum()),
    )


class Topology:
    """``topology`` of the surface of the field that is fused from the views.

    Raises:
        ComponentError: scikit-image is not installed.
    """

    figures: Mapping[str, Figure] = {
        "surface_found": Figure("share of objects whose field has a surface at all", low=0, high=1),
        "components": Figure(
            f"parts of the surface, from a thousandth of its area on, at most {MOST}; 1 is one object",
            higher_is_better=False,
            low=0,
            high=MOST,
        ),
        "watertight": Figure("share of surfaces that are closed within the sphere of the object", low=0, high=1),
        "genus": Figure(
            f"handles of the largest part, at most {MOST}: openings, and tunnels of a poor surface",
            higher_is_better=False,
            low=0,
            high=MOST,
        ),
        "floaters": Figure("share of the area outside the largest part", higher_is_better=False, low=0, high=1),
    }
    needs = (Need.FIELD, Need.SURFACE)

    def __init__(self, spec: TopologySpec) -> None:
        require("skimage")
        self._resolution = spec.resolution

    def measure(self, sample: MeasuredObject, model: MultiviewDiffusion) -> Mapping[str, float | None]:
        """March the surface; without one, all figures but the first are None."""
        scene = fuse_object(sample, model)
        assert isinstance(scene, HasSurface)
        surface = extract(scene, self._resolution, sample.latents.device)
        if surface is None:
            return {**dict.fromkeys(self.figures), "surface_found": 0.0}
        components, closed, handles, floaters = topology(surface)
        return {
            "surface_found": 1.0,
            "components": float(min(components, MOST)),
            "watertight": float(closed),
            "genus": None if handles is None else float(min(handles, MOST)),
            "floaters": floaters,
        }


def build_topology(spec: TopologySpec) -> Topology:
    """Build the metric ``topology``."""
    return Topology(spec)
