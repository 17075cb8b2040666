"""The surface of a scene as triangles, points on it, what hangs together, and what lies inside."""

from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from tunemv3d_core.errors import ComponentError
from tunemv3d_core.slots import HasSurface

Floats = NDArray[np.float64]

REACH = 0.95
"""Radius within which a scene is asked for its surface: objects lie within 0.9 of the origin."""

_AT_ONCE = 2**16
"""Points asked at once."""


@dataclass(frozen=True)
class Triangles:
    """Triangles.

    Attributes:
        vertices: ``v 3``, world units.
        faces: ``f 3``, indices.
    """

    vertices: Floats
    faces: NDArray[np.int64]

    @property
    def corners(self) -> Floats:
        """Corners of every triangle, ``f 3 3``."""
        return self.vertices[self.faces]

    def crosses(self) -> Floats:
        """Return normals ``f 3`` as long as twice the area."""
        a, b, c = self.corners.transpose(1, 0, 2)
        return np.cross(b - a, c - a)


def require(*modules: str) -> None:
    """Refuse to go on without libraries of the extra ``surface``.

    Raises:
        ComponentError: one is not installed.
    """
    if missing := [name for name in modules if find_spec(name) is None]:
        raise ComponentError(f"needs {missing[0]}: pip install 'tunemv3d-eval[surface]'")


def extract(shape: HasSurface, resolution: int, device: torch.device) -> Triangles | None:
    """March cubes where the signed distance is zero; open where the surface leaves the sphere of radius ``REACH``.

    Args:
        shape: of one object.
        resolution: cells along the side of the sphere's cube.
        device: of the points that the shape is asked.

    Returns:
        None where the distance has one sign everywhere or is not finite: there is no surface.
    """
    from skimage.measure import marching_cubes

    axis = np.linspace(-REACH, REACH, resolution + 1, dtype=np.float32)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    inside = np.linalg.norm(points, axis=-1) <= REACH
    asked = torch.from_numpy(points[inside]).to(device)
    with torch.no_grad():
        parts = [shape.signed_distance(chunk[None])[0].float().cpu() for chunk in torch.split(asked, _AT_ONCE)]
    distances = np.full(inside.shape, np.nan, dtype=np.float32)
    distances[inside] = torch.cat(parts).numpy()
    if not np.isfinite(distances[inside]).all() or not np.nanmin(distances) < 0 < np.nanmax(distances):
        return None
    # A cell counts where all of its corners were asked. The mask names its last corner.
    whole = np.zeros_like(inside)
    cells = np.lib.stride_tricks.sliding_window_view(inside, (2, 2, 2)).all(axis=(3, 4, 5))
    whole[1:, 1:, 1:] = cells
    cell = 2 * REACH / resolution
    # A vertex on a grid point would be several in one place.
    filled = np.nan_to_num(np.where(np.abs(distances) < 1e-3 * cell, 1e-3 * cell, distances), nan=1.0)
    try:
        vertices, faces, _, _ = marching_cubes(filled, 0.0, spacing=(cell,) * 3, mask=whole)
    except (ValueError, RuntimeError):  # no cell is crossed
        return None
    return Triangles(vertices.astype(np.float64) - REACH, faces.astype(np.int64))


def sample_points(surface: Triangles, count: int, seed: int = 0) -> tuple[Floats, Floats]:
    """Draw points ``p 3`` evenly over a surface, with the unit normals ``p 3`` of their faces."""
    random = np.random.default_rng(seed)
    crosses = surface.crosses()
    areas = np.linalg.norm(crosses, axis=1)
    chosen = random.choice(len(areas), count, p=areas / areas.sum())
    u, v = random.random((2, count, 1))
    a, b, c = surface.corners[chosen].transpose(1, 0, 2)
    # The square root makes them even over a triangle (Osada et al. 2002).
    points = (1 - np.sqrt(u)) * a + np.sqrt(u) * ((1 - v) * b + v * c)
    return points, crosses[chosen] / areas[chosen, None]


def parts_of(surface: Triangles) -> NDArray[np.int64]:
    """Return the number of the part that each face belongs to, ``f``: what hangs together by vertices."""
    count = len(surface.vertices)
    one, other = surface.faces[:, :2].reshape(-1), surface.faces[:, 1:].reshape(-1)
    joined = coo_matrix((np.ones(len(one), dtype=np.bool_), (one, other)), shape=(count, count))
    _, labels = connected_components(joined, directed=False)
    return np.unique(labels[surface.faces[:, 0]], return_inverse=True)[1]


def is_closed(faces: NDArray[np.int64]) -> bool:
    """Tell whether every edge has exactly two faces."""
    return bool((_edge_uses(faces) == 2).all())


def genus(faces: NDArray[np.int64]) -> int:
    """Return the number of handles of one closed part: 0 for a ball, 1 for a ring (Euler: v - e + f = 2 - 2 g)."""
    characteristic = len(np.unique(faces)) - len(_edge_uses(faces)) + len(faces)
    return int(2 - characteristic) // 2


def _edge_uses(faces: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many faces each edge has."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    return np.unique(edges, axis=0, return_counts=True)[1]


def occupied(points: Floats, cells: int) -> NDArray[np.bool_]:
    """Return the cells ``x y z`` of the cube from -1 to 1 that hold points of a surface, or are shut in by such."""
    at = np.clip(((points + 1) / 2 * cells).astype(int), 0, cells - 1)
    grid = np.zeros((cells,) * 3, dtype=np.bool_)
    grid[tuple(at.T)] = True
    filled: NDArray[np.bool_] = binary_fill_holes(grid)
    return filled
