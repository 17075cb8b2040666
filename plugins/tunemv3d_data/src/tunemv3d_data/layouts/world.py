"""Placing an object in the world: turned to z up, centred, and scaled into the sphere of radius 0.9."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.layouts.views import Floats, SourceViews
from tunemv3d_data.meshes.mesh import RADIUS

AXES = {
    f"{sign}{axis}": tuple(float(value) * (place == index) for place in range(3))
    for sign, value in (("", 1), ("-", -1))
    for index, axis in enumerate("xyz")
}
"""Upward directions by name: x, y, z, -x, -y, -z."""


@dataclass(frozen=True)
class World:
    """Statements of a person about the source's world; None where the layout or the cameras say it.

    Attributes:
        scale: our world units per unit of the source.
        centre: the object's middle, in the source's units.
        up: a name of ``AXES``.
    """

    scale: float | None = None
    centre: tuple[float, float, float] | None = None
    up: str | None = None


def placed(views: SourceViews, world: World) -> Floats:
    """Place the cameras in our world: their poses, ``n 4 4``.

    Raises:
        DatasetError: the object's place cannot be told from the cameras.
    """
    up = np.asarray(AXES[world.up] if world.up else views.up or upward(views.poses))
    if world.centre is not None:
        centre = np.asarray(world.centre)
    else:
        centre = focus(views.poses) if views.radius is None else np.zeros(3)
    radius = views.radius or seen_radius(views, centre)
    if not world.scale and not (np.isfinite(radius) and radius > 1e-9 * np.abs(views.poses[:, :3, 3] - centre).max()):
        raise DatasetError("the object's size cannot be told from the cameras; give --scale, or look at --convention")
    scale = world.scale or RADIUS / radius
    rotation = turn_to_z(up)
    poses = views.poses.copy()
    poses[:, :3, :3] = rotation @ poses[:, :3, :3]
    poses[:, :3, 3] = scale * (poses[:, :3, 3] - centre) @ rotation.T
    return poses


def upward(poses: Floats) -> Floats:
    """Find the world's upward direction from the cameras: at right angles to all their x axes, on their upper side.

    It is the vertical of cameras that do not roll, wherever they stand and look.
    """
    right, mean_up = poses[:, :3, 0], -poses[:, :3, 1].mean(0)
    # The inverse favours the direction that no x axis has; the small term decides where there are several.
    found = np.linalg.solve(right.T @ right / len(right) + 1e-9 * np.eye(3), mean_up)
    return np.asarray(found / np.linalg.norm(found))


def focus(poses: Floats) -> Floats:
    """Find the point nearest to all optical axes, by least squares.

    Raises:
        DatasetError: all cameras look the same way.
    """
    axis = poses[:, :3, 2] / np.linalg.norm(poses[:, :3, 2], axis=1, keepdims=True)
    across = np.eye(3) - axis[:, :, None] * axis[:, None, :]
    total = across.sum(0)
    if np.linalg.cond(total) > 1e6:
        raise DatasetError("all cameras look the same way, so that the object's middle is unknown; give --centre")
    return np.asarray(np.linalg.solve(total, (across @ poses[:, :3, 3:]).sum(0))[:, 0])


def seen_radius(views: SourceViews, centre: Floats) -> float:
    """Measure how far from ``centre`` silhouettes reach; without silhouettes, the radius that all pictures show whole.

    A silhouette at an angle a from the centre of a camera at distance d belongs to a point at least d sin(a) away,
    with equality where the line of sight touches the sphere, as it does in some of many views.

    Raises:
        DatasetError: no picture shows anything.
    """
    reached, whole, has_ground = [], [], False
    for view in range(len(views.files)):
        to_centre = (centre - views.poses[view, :3, 3]) @ views.poses[view, :3, :3]
        distance = float(np.linalg.norm(to_centre))
        solid = views.picture(view)[..., 3] > 127
        has_ground = has_ground or not solid.all()
        if solid.any():
            reached.append(distance * _largest_sine(_rays(solid, views.intrinsics[view]), to_centre))
        fx, fy, cx, cy = views.intrinsics[view]
        whole.append(distance * np.sin(np.arctan(min(cx / fx, (1 - cx) / fx, cy / fy, (1 - cy) / fy))))
    if not reached:
        raise DatasetError("no picture shows anything")
    return float(max(reached) if has_ground else min(whole))


def turn_to_z(up: Floats) -> Floats:
    """Compute the rotation 3x3 that turns ``up`` to +z on the shortest way; y up becomes x, -z, y, as in mesh files."""
    up = up / np.linalg.norm(up)
    if up[2] < -1 + 1e-9:
        return np.diag([1.0, -1.0, -1.0])  # half a turn about x
    axis = np.cross(up, [0.0, 0.0, 1.0])
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.asarray(np.eye(3) + cross + cross @ cross / (1 + up[2]))


def _rays(solid: NDArray[np.bool_], intrinsics: Floats) -> Floats:
    """Directions in the camera of all pixels that ``solid`` marks, ``p 3``."""
    (h, w), (fx, fy, cx, cy) = solid.shape, intrinsics
    y, x = np.nonzero(solid)
    return np.stack([((x + 0.5) / w - cx) / fx, ((y + 0.5) / h - cy) / fy, np.ones(len(x))], axis=1)


def _largest_sine(rays: Floats, direction: Floats) -> float:
    """Largest sine of the angles between rays and one direction."""
    crossed = np.linalg.norm(np.cross(rays, direction), axis=1)
    return float((crossed / np.linalg.norm(rays, axis=1)).max() / np.linalg.norm(direction))
