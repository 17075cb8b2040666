"""An object as coloured points, for the drawing beside its cameras: from depth, else from its visual hull."""

from dataclasses import dataclass

import numpy as np

from tunemv3d_core.io.depth_normals import read_depth
from tunemv3d_data.doctor.hull import GRID, project
from tunemv3d_data.doctor.silhouettes import Floats
from tunemv3d_data.doctor.views import Bytes, ObjectViews

_MOST = 4000
"""Points a drawing."""


@dataclass(frozen=True)
class Cloud:
    """Points ``p 3`` in the world, their colours ``p 3``, and how far apart they are."""

    points: Floats
    colours: Bytes
    spacing: float


def cloud(views: ObjectViews) -> Cloud:
    """Find points on the object's surface; none where cameras and silhouettes do not agree."""
    if views.record.depth_files:
        return _from_depth(views)
    return _from_hull(views)


def _from_depth(views: ObjectViews) -> Cloud:
    points, colours = [], []
    each = max(1, _MOST // len(views))
    for index, file in enumerate(views.record.depth_files):
        depth, rgba = read_depth(views.folder / file).astype(np.float64), views.pictures[index].rgba
        y, x = np.nonzero(depth > 0)
        some = np.unique(np.linspace(0, len(y) - 1, min(each, len(y))).astype(int)) if len(y) else y
        y, x = y[some], x[some]
        h, w = depth.shape
        fx, fy, cx, cy = views.intrinsics[index]
        rays = np.stack([((x + 0.5) / w - cx) / fx, ((y + 0.5) / h - cy) / fy, np.ones(len(x))], -1)
        pose = views.poses[index]
        points.append((rays * depth[y, x, None]) @ pose[:3, :3].T + pose[:3, 3])
        colours.append(rgba[y * rgba.shape[0] // h, x * rgba.shape[1] // w, :3])
    together = np.concatenate(points)
    spread = float(np.ptp(together, axis=0).max()) if len(together) else 1.0
    return Cloud(together, np.concatenate(colours), spread / 60)


def _from_hull(views: ObjectViews) -> Cloud:
    hull = views.hull
    if not len(hull):
        return Cloud(hull, np.zeros((0, 3), dtype=np.uint8), 0.0)
    steps = np.diff(np.unique(hull[:, 0].round(6)))
    cell = float(steps.min()) if len(steps) else float(np.ptp(hull, axis=0).max()) / GRID
    place = np.rint((hull - hull.min(0)) / cell).astype(int) + 1
    filled = np.zeros(place.max(0) + 2, dtype=bool)
    filled[tuple(place.T)] = True
    covered = [filled[tuple((place + step).T)] for step in (*np.eye(3, dtype=int), *-np.eye(3, dtype=int))]
    skin = hull[~np.logical_and.reduce(covered)]
    skin = skin[:: max(1, -(-len(skin) // _MOST))]
    return Cloud(skin, _colours(views, skin, cell), cell)


def _colours(views: ObjectViews, points: Floats, cell: float) -> Bytes:
    """The mean colour that each point has in the views that see it in front of all others."""
    total, count = np.zeros((len(points), 3)), np.zeros(len(points))
    for index in views.trusted:
        place, depth = project(points, views.poses[index], views.intrinsics[index])
        rgba = views.pictures[index].rgba
        h, w = rgba.shape[:2]
        x, y = (np.clip(place[:, axis] * size, 0, size - 1).astype(int) for axis, size in ((0, w), (1, h)))
        coarse = (y * GRID // h) * GRID + x * GRID // w
        nearest = np.full(GRID * GRID, np.inf)
        np.minimum.at(nearest, coarse, depth)
        seen = (depth < nearest[coarse] + 1.5 * cell) & (rgba[y, x, 3] > 128)
        total[seen] += rgba[y[seen], x[seen], :3]
        count += seen
    some = count > 0
    colours = np.full((len(points), 3), 128.0)
    colours[some] = total[some] / count[some, None]
    return np.asarray(colours.round().astype(np.uint8))
