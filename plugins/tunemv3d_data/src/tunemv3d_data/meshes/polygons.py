"""Polygons as triangles, also those that are not convex and those with holes that a seam joins to the border."""

import mapbox_earcut
import numpy as np
from numpy.typing import NDArray

from tunemv3d_data.meshes.normals import unit
from tunemv3d_data.notes import note

Indices = NDArray[np.int64]
Points = NDArray[np.float64]

_FOLDED = 1e-4
"""Share of a polygon's area by which a triangle may face the other way: less is rounding, or not flat."""
_AREA_OFF = 1e-2
_NOTED = 1e-2
"""Share of all polygons' area above which those that cross themselves are noted."""


def triangulate(corners: Points, counts: Indices) -> tuple[Indices, Indices]:
    """Divide polygons into triangles.

    Quadrangles are divided from the first to the third corner unless only the other way is inside; larger polygons
    in a fan from the first corner where all of it is inside, and by ear clipping (mapbox earcut) where not. Those that
    cross themselves stay fans.

    Args:
        corners: ``c 3``, the polygons' corners, one polygon after the other.
        counts: ``p``, corners of each polygon, at least 3.

    Returns:
        triangles: ``t 3``, indices of corners, in the order of the polygons.
        polygon: ``t``, the polygon that each belongs to.
    """
    starts = np.cumsum(counts) - counts
    triangles, owners, crossing = [np.empty((0, 3), dtype=np.int64)], [np.empty(0, dtype=np.int64)], []
    for count in np.unique(counts):
        polygons = np.flatnonzero(counts == count)
        first = starts[polygons][:, None, None]
        made = first + np.stack([np.zeros(count - 2), np.arange(1, count - 1), np.arange(2, count)], -1).astype(
            np.int64
        )
        folded = _folded(corners, made) if count > 3 else np.empty(0, dtype=np.int64)
        if count == 4:
            other = first[folded] + np.array([[1, 2, 3], [1, 3, 0]])
            fails = _folded(corners, other)
            made[np.delete(folded, fails)] = np.delete(other, fails, axis=0)
            crossing.append(polygons[folded[fails]])
            folded = folded[:0]
        clipped = _clipped(corners[starts[polygons[folded], None] + np.arange(count)])
        fails = np.array([ears is None for ears in clipped], dtype=bool)
        crossing.append(polygons[folded[fails]])
        for index, ears in zip(folded, clipped, strict=True):
            if ears is not None:
                triangles.append(ears + starts[polygons[index]])
                owners.append(np.full(len(ears), polygons[index]))
        triangles.append(np.delete(made, folded[~fails], axis=0).reshape(-1, 3))
        owners.append(np.repeat(np.delete(polygons, folded[~fails]), count - 2))
    whole, owner = np.concatenate(triangles), np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    _note_crossing(corners[whole], owner, np.concatenate([np.empty(0, dtype=np.int64), *crossing]))
    return whole[order], owner[order]


def _folded(corners: Points, fans: Indices) -> Indices:
    """Which of the fans ``p t 3`` have triangles that face another way than their polygon as a whole."""
    crossed = _crossed(corners[fans])
    whole = crossed.sum(1)
    facing = np.einsum("ptd,pd->pt", crossed, whole)
    return np.flatnonzero((facing < -_FOLDED * (whole**2).sum(-1, keepdims=True)).any(-1))


def _crossed(triangles: Points) -> Points:
    """Normals ``... 3`` of triangles ``... 3 3``, twice as long as the triangles are large."""
    with np.errstate(all="ignore"):
        return np.cross(triangles[..., 1, :] - triangles[..., 0, :], triangles[..., 2, :] - triangles[..., 0, :])


def _clipped(polygons: Points) -> list[Indices | None]:
    """Clip the ears of polygons ``p n 3``, each in its own plane: their triangles ``t 3``; None where they cross."""
    if not len(polygons):
        return []
    points = polygons - polygons[:, :1]
    normal = unit(np.cross(points, np.roll(points, -1, axis=1)).sum(1))
    beside = unit(np.cross(normal, np.eye(3)[np.abs(normal).argmin(1)]))
    flat = np.stack([np.einsum("pnd,pd->pn", points, axis) for axis in (beside, np.cross(normal, beside))], axis=-1)
    return [_ears(np.ascontiguousarray(polygon)) for polygon in flat]


def _ears(flat: Points) -> Indices | None:
    """Triangles ``t 3`` of a polygon ``n 2``, counter-clockwise as itself; None if they are not as large as it."""
    if not np.isfinite(flat).all():
        return None
    (x, y), around = flat.T, np.roll(flat, -1, axis=0)
    area = float(x @ around[:, 1] - y @ around[:, 0])
    found = mapbox_earcut.triangulate_float64(flat, np.array([len(flat)], dtype=np.uint32)).astype(np.int64)
    a, b, c = found.reshape(-1, 3).T
    doubled = (x[b] - x[a]) * (y[c] - y[a]) - (y[b] - y[a]) * (x[c] - x[a])
    if not abs(np.abs(doubled).sum() - area) <= _AREA_OFF * area:
        return None
    return np.where((doubled < 0)[:, None], np.stack([a, c, b], -1), np.stack([a, b, c], -1))


def _note_crossing(triangles: Points, owner: Indices, crossing: Indices) -> None:
    if len(crossing):
        areas = np.linalg.norm(_crossed(triangles), axis=-1)
        if areas[np.isin(owner, crossing)].sum() > _NOTED * areas.sum():
            note(
                "changed shape", f"{len(crossing):,} polygons cross themselves; they are filled from their first corner"
            )
