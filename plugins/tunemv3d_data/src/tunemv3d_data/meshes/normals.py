"""Normals of corners: those of the faces around, as far as they meet at less than the crease angle."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

CREASE = 40.0
"""Faces that meet at a larger angle, in degrees, meet at an edge. Blender smooths up to 30, Unity up to 60; at 40 a
tube of ten sides is round and a bevel of 45 degrees is not."""
MOST_FACES = 256
"""That one place's corners are compared with; the work grows by their square."""
_AT_ONCE = 1 << 16


def corner_normals(triangles: Floats) -> Floats:
    """Compute unit normals ``f 3 3`` at the corners of triangles ``f 3 3`` that fit into the unit sphere.

    A corner's normal is the mean, by area, of its own face and of the faces with a corner at the same place that meet
    it at less than ``CREASE`` degrees, whichever way round they are listed. A face without an area has normals of zero
    where it has no such neighbours.
    """
    crossed = crosses(triangles)
    place = _coinciding(triangles)
    order = np.argsort(place, kind="stable")
    place = place[order]
    normals = np.empty((len(order), 3), dtype=np.float32)
    start = 0
    while start < len(order):
        stop = int(np.searchsorted(place, place[min(start + _AT_ONCE, len(order)) - 1], side="right"))
        face = order[start:stop] // 3
        normals[order[start:stop]] = _summed(crossed[face].T, place[start:stop]).T
        start = stop
    return np.asarray(unit(normals).reshape(-1, 3, 3), dtype=np.float32)


def _summed(crossed: Floats, place: NDArray[np.int64]) -> Floats:
    """Sums of normals ``3 c`` over the corners at one place; ``place`` is in order, so that they are neighbours."""
    summed, every = crossed.copy(), np.arange(len(place))
    alike = np.searchsorted(place, place, side="right") - np.searchsorted(place, place)
    flat = crossed / np.maximum(np.linalg.norm(crossed, axis=0), 1e-20)
    step = 1
    while step < MOST_FACES:
        kept = alike > step  # at every power of two, the places that are done are left
        every, place, alike, flat, crossed = every[kept], place[kept], alike[kept], flat[:, kept], crossed[:, kept]
        added = np.zeros_like(crossed)
        for distance in range(step, min(2 * step, len(place))):
            cosine = (flat[:, distance:] * flat[:, :-distance]).sum(0)
            is_near = (place[distance:] == place[:-distance]) & (np.abs(cosine) > np.cos(np.radians(CREASE)))
            weight = np.sign(cosine) * is_near
            added[:, :-distance] += weight * crossed[:, distance:]
            added[:, distance:] += weight * crossed[:, :-distance]
        summed[:, every] += added
        step *= 2
    return summed


def crosses(triangles: Floats) -> Floats:
    """Compute normals ``f 3`` of triangles ``f 3 3``, twice as long as the triangles are large."""
    edges = triangles[:, 1:] - triangles[:, :1]
    return np.asarray(np.cross(edges[:, 0], edges[:, 1]), dtype=np.float32)


def unit(vectors: Any) -> Any:
    """Scale vectors ``... 3`` to length one; those of no length stay."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-20)


def _coinciding(triangles: Floats) -> NDArray[np.int64]:
    """A number for every corner, ``f 3`` flat, the same for corners at one place (of a grid of 1/20000)."""
    keys = np.zeros(len(triangles) * 3, dtype=np.int64)
    for axis in range(3):
        cells = (triangles[..., axis] * np.float32(20000)).round().astype(np.int64).reshape(-1)
        keys = (keys << 21) | (cells + (1 << 20))
    return keys
