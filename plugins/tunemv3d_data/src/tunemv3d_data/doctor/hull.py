"""Visual hull: all points that no silhouette rules out, on a coarse grid."""

import numpy as np
from PIL import Image, ImageFilter

from tunemv3d_data.doctor.silhouettes import Floats, Masks

GRID = 40
"""Cells along an edge."""


def centre_of(directions: Floats, poses: Floats) -> tuple[Floats, Floats]:
    """Find the point ``3`` nearest to the middle rays of all outlines ``n p 3``, and its depth in every view, ``n``."""
    middle = (directions.min(1) + directions.max(1)) / 2
    ray = np.einsum("nij,nj->ni", poses[:, :3, :3], middle)
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    across = np.eye(3) - ray[:, :, None] * ray[:, None, :]
    origins = poses[:, :3, 3]
    centre = np.linalg.lstsq(across.sum(0), np.einsum("nij,nj->i", across, origins), rcond=None)[0]
    depth = np.einsum("nj,nj->n", poses[:, :3, 2], centre - origins)
    return centre, depth


def visual_hull(masks: list[Masks], poses: Floats, intrinsics: Floats, directions: Floats) -> Floats:
    """Centres of the cells that lie inside all silhouettes: ``p 3``, world units; none where the views do not agree.

    Args:
        masks: ``h w`` per view.
        poses: ``n 4 4``, OpenCV axes.
        intrinsics: ``n 4``.
        directions: the masks' outlines in their cameras, ``n p 3``, which bound the grid.
    """
    centre, depth = centre_of(directions, poses)
    middle = (directions.min(1) + directions.max(1)) / 2
    radius = float(np.median(np.linalg.norm(directions - middle[:, None], axis=-1).max(1) * np.abs(depth))) * 1.3
    steps = (np.arange(GRID) + 0.5) / GRID * 2 - 1
    points = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3) * radius + centre
    for mask, pose, lens, far in zip(masks, poses, intrinsics, np.abs(depth), strict=True):
        half_cell = radius / GRID * lens[0] / far * mask.shape[1]
        points = points[covered(points, _widened(mask, round(half_cell)), pose, lens)]
    return points


def _widened(mask: Masks, pixels: int) -> Masks:
    """Grow a mask by some pixels, so that what is thinner than a cell is kept."""
    return np.asarray(Image.fromarray(mask.astype(np.uint8)).filter(ImageFilter.MaxFilter(2 * pixels + 1))) > 0


def project(points: Floats, pose: Floats, lens: Floats) -> tuple[Floats, Floats]:
    """Project world points ``p 3`` into one camera: fractions of the image ``p 2``, and depth ``p``."""
    seen = (points - pose[:3, 3]) @ pose[:3, :3]
    depth = seen[:, 2]
    safe = np.where(np.abs(depth) < 1e-9, 1e-9, depth)
    return seen[:, :2] / safe[:, None] * lens[:2] + lens[2:], depth


def covered(points: Floats, mask: Masks, pose: Floats, lens: Floats) -> Masks:
    """Tell which points a mask covers, ``p``."""
    place, depth = project(points, pose, lens)
    h, w = mask.shape
    x, y = np.floor(place[:, 0] * w), np.floor(place[:, 1] * h)
    inside = (depth > 0) & (x >= 0) & (x < w) & (y >= 0) & (y < h)
    found = np.zeros(len(points), dtype=bool)
    found[inside] = mask[y[inside].astype(int), x[inside].astype(int)]
    return found
