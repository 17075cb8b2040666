"""The object lies in the unit sphere around the origin, and fills it."""

from collections.abc import Iterator

import numpy as np

from tunemv3d_data.doctor.findings import Finding
from tunemv3d_data.doctor.fit import FEWEST
from tunemv3d_data.doctor.hull import centre_of
from tunemv3d_data.doctor.silhouettes import Floats, in_camera
from tunemv3d_data.doctor.views import ObjectViews

_LARGEST, _SMALLEST, _OFF_CENTRE = 1.05, 0.45, 0.35
"""World units, and a share of the radius."""

_ALL = "; where all objects are so, tunemv3d data convert"


def in_the_unit_sphere(views: ObjectViews) -> Iterator[Finding]:
    """Cameras stand outside the unit sphere, the object inside, around its middle, and not tiny in it."""
    id_, distances = views.record.id, np.linalg.norm(views.poses[:, :3, 3], axis=1)
    inside = tuple(np.flatnonzero(distances <= 1).tolist())
    if inside and (views.fit is None or views.fit.reading is None):  # else they stand there by mistake
        text = f"{len(inside)} cameras stand inside the unit sphere, the nearest at {distances.min():.2f}"
        advice = "scale all camera positions so that the object's radius is 0.9 and every camera is beyond 1"
        yield Finding("camera-inside", id_, text, advice, inside, {"nearest": float(distances.min())})
    if len(views.trusted) < FEWEST:
        return
    middle, radius, reach = extent(views)
    off = float(np.linalg.norm(middle))
    numbers = {"radius": round(radius, 3), "reach": round(reach, 3), "off_centre": round(off, 3)}
    place = ",".join(f"{value:.2f}" for value in middle)
    share = f"{0.9 / radius:.3g}"
    factor = f"multiply all camera positions by {share}{_ALL} --scale={share}"
    if radius > _LARGEST:
        yield Finding("object-large", id_, f"the object's radius is {radius:.2f}, not 0.9", factor, (), numbers)
    elif radius < _SMALLEST:
        yield Finding("object-small", id_, f"the object's radius is {radius:.2f}, not 0.9", factor, (), numbers)
    if off > _OFF_CENTRE * radius:
        leaves = " and it leaves the unit sphere" if reach > _LARGEST else ""
        text = f"the object's middle is at ({place}), not at the origin{leaves}"
        advice = f"subtract ({place}) from all camera positions{_ALL} --centre={place}"
        yield Finding("off-centre", id_, text, advice, (), numbers)


def extent(views: ObjectViews) -> tuple[Floats, float, float]:
    """Measure the object's middle ``3``, its radius around it, and how far it reaches from the world's origin.

    A ray that touches the object passes its point at some distance from the middle; the widest of all views is the
    object's radius, but for what no view shows from the side.
    """
    kept = views.trusted
    directions = in_camera(views.outlines[kept], views.intrinsics[kept])
    middle, _ = centre_of(directions, views.poses[kept])
    rays = np.einsum("nij,npj->npi", views.poses[kept, :3, :3], directions)
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    origins = views.poses[kept, None, :3, 3]

    def farthest(point: Floats) -> float:
        return float(np.linalg.norm(np.cross(rays, point - origins), axis=-1).max())

    return middle, farthest(middle), farthest(np.zeros(3))
