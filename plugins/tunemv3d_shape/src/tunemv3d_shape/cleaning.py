"""Take away what floats around an object."""

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from tunemv3d_shape.surface import Triangles

SMALLEST = 0.01
"""Parts of less than this share of the largest part's area are floaters; wheels and feet that hang free stay."""


def remove_floaters(surface: Triangles, smallest: float = SMALLEST) -> Triangles:
    """The surface without its small parts.

    Args:
        surface: some triangles; parts are what hangs together by vertices.
        smallest: share of the largest part's area from which on a part stays.
    """
    part = _part_of_vertices(surface)[surface.faces[:, 0]]
    areas = np.bincount(part, face_areas(surface))
    return _taken(surface, (areas >= smallest * areas.max())[part])


def face_areas(surface: Triangles) -> np.ndarray:
    """Area of every triangle, ``f``."""
    a, b, c = (surface.vertices[surface.faces[:, corner]].astype(np.float64) for corner in range(3))
    return np.asarray(np.linalg.norm(np.cross(b - a, c - a), axis=-1) / 2)


def _part_of_vertices(surface: Triangles) -> np.ndarray:
    """The number of the part that each vertex belongs to, ``v``."""
    count = len(surface.vertices)
    one, other = surface.faces[:, :2].reshape(-1), surface.faces[:, 1:].reshape(-1)
    joined = coo_matrix((np.ones(len(one), dtype=np.bool_), (one, other)), shape=(count, count))
    return np.asarray(connected_components(joined, directed=False)[1])


def _taken(surface: Triangles, kept: np.ndarray) -> Triangles:
    """The kept faces and the vertices that they use."""
    used, faces = np.unique(surface.faces[kept], return_inverse=True)
    return Triangles(surface.vertices[used], faces.reshape(-1, 3).astype(np.int32))
