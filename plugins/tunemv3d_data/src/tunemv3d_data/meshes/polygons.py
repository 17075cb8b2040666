"""Polygons as triangles, also those that are not convex and those with holes that a seam joins to the border."""

import mapbox_earcut
import numpy as np
from numpy.typing import NDArray

from tunemv3d_data.meshes.normals import unit
from tunemv3d_data.notes import note

Indices = NDArray[np.int64]
_FOLDED = 1e-9
_AREA_OFF = 1e-3
_CROSSING = "has polygons that cross themselves; their inside is guessed"


def triangulate(corners: NDArray[np.float64], counts: Indices) -> tuple[Indices, Indices]:
    """Divide polygons into triangles.

    Quadrangles are divided from the first to the third corner unless only the other way is inside; larger polygons
    in a fan from the first corner where all of it is inside, and by ear clipping (mapbox earcut) where not.

    Args:
        corners: ``c 3``, the polygons' corners, one polygon after the other.
        counts: ``p``, corners of each polygon, at least 3.

    Returns:
        triangles: ``t 3``, indices of corners, in the order of the polygons.
        polygon: ``t``, the polygon that each belongs to.
    """
    starts = np.cumsum(counts) - counts
    triangles, owners = [], []
    for count in np.unique(counts):
        polygons = np.flatnonzero(counts == count)
        fan = np.stack([np.zeros(count - 2), np.arange(1, count - 1), np.arange(2, count)], -1).astype(np.int64)
        made = starts[polygons][:, None, None] + fan
        folded = np.empty(0, dtype=np.int64) if count == 3 else _folded(corners, made)
        if count == 4 and len(folded):
            other = starts[polygons[folded]][:, None, None] + np.array([[1, 2, 3], [1, 3, 0]])
            crossing = _folded(corners, other)
            if len(crossing):
                note("changed shape", _CROSSING)
            made[np.delete(folded, crossing)] = np.delete(other, crossing, axis=0)
            folded = np.empty(0, dtype=np.int64)
        whole = np.delete(made, folded, axis=0)
        triangles.append(whole.reshape(-1, 3))
        owners.append(np.repeat(np.delete(polygons, folded), count - 2))
        for polygon in polygons[folded]:
            clipped = _clipped(corners[starts[polygon] : starts[polygon] + count])
            triangles.append(clipped + starts[polygon])
            owners.append(np.full(len(clipped), polygon))
    if not triangles:
        return np.empty((0, 3), dtype=np.int64), np.empty(0, dtype=np.int64)
    owner = np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    return np.concatenate(triangles)[order], owner[order]


def _folded(corners: NDArray[np.float64], fans: Indices) -> Indices:
    """Which of the fans ``p t 3`` have triangles that face another way than their polygon as a whole."""
    points = corners[fans]
    with np.errstate(all="ignore"):
        crossed = np.cross(points[..., 1, :] - points[..., 0, :], points[..., 2, :] - points[..., 0, :])
        whole = crossed.sum(1)
        facing = (crossed * whole[:, None]).sum(-1)
        return np.flatnonzero((facing < -_FOLDED * (whole**2).sum(-1, keepdims=True)).any(-1))


def _clipped(points: NDArray[np.float64]) -> Indices:
    """Clip the ears of one polygon ``n 3`` in its own plane: ``t 3``."""
    around = np.roll(points, -1, axis=0)
    normal = unit(np.cross(points - points[0], around - points[0]).sum(0))
    first = unit(np.cross(normal, np.eye(3)[np.abs(normal).argmin()]))
    flat = (points - points[0]) @ np.stack([first, np.cross(normal, first)], axis=-1)
    if not np.isfinite(flat).all():  # refused later, with the reason
        return np.array([[0, 1, 2]])
    found = mapbox_earcut.triangulate_float64(np.ascontiguousarray(flat), np.array([len(flat)], dtype=np.uint32))
    triangles = found.astype(np.int64).reshape(-1, 3)
    a, b, c = flat[triangles].transpose(1, 2, 0)
    doubled = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    outline = np.roll(flat, -1, axis=0)
    area = float((flat[:, 0] * outline[:, 1] - flat[:, 1] * outline[:, 0]).sum())
    if not abs(np.abs(doubled).sum() - area) <= _AREA_OFF * area:
        note("changed shape", _CROSSING)
    triangles[doubled < 0] = triangles[doubled < 0][:, ::-1]
    return triangles
