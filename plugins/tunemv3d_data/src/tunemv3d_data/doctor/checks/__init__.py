"""Checks: one file per family, each check a small function that yields findings."""

from collections.abc import Callable, Iterator

from tunemv3d_data.doctor.checks import alpha, cameras, depth, notes, pictures, scale, texts
from tunemv3d_data.doctor.findings import Finding
from tunemv3d_data.doctor.views import ObjectViews

Checks = tuple[Callable[[ObjectViews], Iterator[Finding]], ...]

OUR_CHECKS: Checks = (texts.licence, texts.captions, pictures.sizes)
"""Checks of our own datasets, made first: other layouts do not state what they ask."""

OBJECT_CHECKS: Checks = (
    pictures.empty_views,
    pictures.same_pictures,
    alpha.missing_or_inverted,
    alpha.edge_colours,
    pictures.brightness,
    pictures.clipped,
    cameras.straight,
    cameras.rigid,
    cameras.fit_silhouettes,
    cameras.world_up,
    cameras.one_sided,
    scale.in_the_unit_sphere,
    depth.depth_fits,
    depth.normals_fit,
    notes.noted,
)
"""Checks of every object, in this order; of depth and normals where there are any."""
