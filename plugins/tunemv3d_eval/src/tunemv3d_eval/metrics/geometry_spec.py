"""Options of the metrics of shapes. Light: imports no torch."""

from typing import Annotated, Literal

from pydantic import Field

from tunemv3d_core.config.component_spec import ComponentSpec

Cells = Annotated[int, Field(ge=8, le=512)]


class TopologySpec(ComponentSpec):
    """Options of the metric ``topology``."""

    type: Literal["topology"] = "topology"
    """Components, handles and floaters of the field's surface."""
    resolution: Cells = 64
    """Cells along the side of a cube of 1.9 world units."""


class GeometryOverTSpec(ComponentSpec):
    """Options of the metric ``geometry-over-t``."""

    type: Literal["geometry-over-t"] = "geometry-over-t"
    """The field's surface of noisy real views beside the real mesh."""
    meshes: str = ""
    """Folder of real meshes, OBJ, PLY, STL, OFF, GLB or glTF, named by object id; "" leaves the metric out."""
    timesteps: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (50, 200, 400, 600, 800, 950)
    """Noise levels t of the views."""
    resolution: Cells = 64
    """Cells along the side of a cube of 1.9 world units in which the surface is found."""
    points: Annotated[int, Field(ge=100)] = 10_000
    """Points drawn on each surface."""
    reach: Annotated[float, Field(gt=0)] = 0.05
    """Distance, world units, within which a point counts for the F-score; objects have a radius of 0.9."""
