"""The zero level of a signed distance as triangles.

The distance is asked on a coarse grid first, then on the fine one only in the blocks that the surface may touch. The
surface is cut off at the sphere that holds every object, so that outside is positive all around and nothing is open.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.measure import marching_cubes

from tunemv3d_core.errors import SampleError
from tunemv3d_core.slots import HasSurface

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Mask = NDArray[np.bool_]

RADIUS = 0.92
"""Objects lie within 0.9 of the origin; fields are not trained far beyond."""

HALF = 0.95
"""Half the side of the grid's cube."""

BLOCK = 4
"""Fine cells along a block's side."""

MARGIN = 2.0
"""Factor by which a learned distance is expected to be steeper than a true one, whose slope is 1."""

_AT_ONCE = 2**16
"""Points asked at once."""


@dataclass(frozen=True)
class Triangles:
    """Triangles.

    Attributes:
        vertices: ``v 3``, world units.
        faces: ``f 3``, counter-clockwise as seen from outside.
    """

    vertices: Floats
    faces: Ints


def extract_surface(shape: HasSurface, resolution: int = 256, device: torch.device | None = None) -> Triangles:
    """The surface where the signed distance is zero, closed and oriented outwards.

    Args:
        shape: of one object.
        resolution: cells along the side of a cube of 1.9 world units; rounded up to whole blocks.
        device: of the points that the shape is asked.

    Raises:
        SampleError: the distance has one sign everywhere, or is not finite.
    """
    grid = distance_grid(shape, resolution, device)
    check_has_surface(grid)
    cell = 2 * HALF / (len(grid) - 1)
    # A vertex on a grid point would be several vertices in one place.
    grid[np.abs(grid) < 1e-3 * cell] = 1e-3 * cell
    vertices, faces, _, _ = marching_cubes(grid, 0.0, spacing=(cell,) * 3, gradient_direction="descent")
    return Triangles(np.asarray(vertices - HALF, dtype=np.float32), np.asarray(faces, dtype=np.int32))


def distance_grid(shape: HasSurface, resolution: int, device: torch.device | None = None) -> Floats:
    """Signed distances ``i j k`` at the corners of cells: exact near the surface, of the right sign elsewhere.

    A block is looked into where a corner is so near to the surface that it may lie inside the block, and where the
    surface runs into it from a neighbour.

    Raises:
        SampleError: a distance is not finite.
    """
    blocks = -(-resolution // BLOCK)
    fine = np.linspace(-HALF, HALF, blocks * BLOCK + 1, dtype=np.float32)
    corners = _ask(shape, _lattice(fine[::BLOCK]), device).reshape((blocks + 1,) * 3)
    grid = _spread(corners)
    reach = MARGIN * np.sqrt(3) / 2 * BLOCK * (fine[1] - fine[0])
    wanted = _least_of_cells(np.abs(corners)) < reach
    looked_into = np.zeros_like(wanted)
    known = np.zeros(grid.shape, dtype=np.bool_)
    while (wanted & ~looked_into).any():
        looked_into |= wanted
        points = _points_of(looked_into) & ~known
        grid[points] = _ask(shape, np.stack([fine[axis] for axis in np.nonzero(points)], axis=-1), device)
        known |= points
        wanted = _crossed_blocks(grid < 0)
    return grid


def all_distances(shape: HasSurface, cells: int, device: torch.device | None = None) -> Floats:
    """Signed distances ``i j k`` at the corners of all cells of the cube.

    Raises:
        SampleError: a distance is not finite.
    """
    axis = np.linspace(-HALF, HALF, cells + 1, dtype=np.float32)
    return _ask(shape, _lattice(axis), device).reshape((cells + 1,) * 3)


def check_has_surface(grid: Floats, slack: float = 0.0) -> None:
    """Refuse distances ``i j k`` of the cube that have one sign everywhere in the sphere.

    Args:
        grid: as asked.
        slack: positive distances up to this one count as inside.

    Raises:
        SampleError: says which one.
    """
    axis = np.linspace(-HALF, HALF, len(grid), dtype=np.float32)
    within = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2) < RADIUS
    for sign, lacks, there in (("positive", "inside", grid < slack), ("negative", "outside", grid >= 0)):
        if not (there & within).any():
            raise SampleError(
                f"no surface: the shape's signed distance is {sign} everywhere, so that it has no {lacks}. "
                "Sample it again with another --seed, a higher --consistency or more --steps"
            )


def _ask(shape: HasSurface, points: Floats, device: torch.device | None) -> Floats:
    """Signed distances of points ``p 3``, cut off at the sphere; beyond it the shape is not asked."""
    beyond = np.linalg.norm(points, axis=-1) - RADIUS
    inside = np.nonzero(beyond < 0)[0]
    with torch.no_grad():
        parts = [
            shape.signed_distance(chunk[None].to(device))[0].float().cpu()
            for chunk in torch.split(torch.from_numpy(points[inside]), _AT_ONCE)
        ]
    distances = beyond.astype(np.float32)
    distances[inside] = np.maximum(torch.cat(parts).numpy(), distances[inside])
    if not np.isfinite(distances).all():
        wrong = int((~np.isfinite(distances)).sum())
        raise SampleError(f"the shape's signed distance is not a finite number at {wrong} of {len(distances)} points")
    return np.asarray(distances, dtype=np.float32)


def _lattice(axis: Floats) -> Floats:
    """List all points ``p 3`` whose coordinates lie on the axis, the last coordinate fastest."""
    i, j, k = np.meshgrid(axis, axis, axis, indexing="ij")
    return np.stack([i, j, k], axis=-1).reshape(-1, 3).astype(np.float32)


def _spread(corners: Floats) -> Floats:
    """Give each fine point the value of the block corner before it."""
    for axis in range(3):
        inner, last = np.split(corners, [-1], axis=axis)
        corners = np.concatenate([np.repeat(inner, BLOCK, axis=axis), last], axis=axis)
    return np.ascontiguousarray(corners)


def _least_of_cells(values: Floats) -> Floats:
    """The least value at the corners of each cell: one shorter along every axis."""
    for axis in range(3):
        ahead, behind = np.delete(values, 0, axis), np.delete(values, -1, axis)
        values = np.minimum(ahead, behind)
    return values


def _points_of(blocks: Mask) -> Mask:
    """The fine points inside and on the border of blocks."""
    for axis in range(3):
        cells = np.repeat(blocks, BLOCK, axis=axis)
        pad = [(0, 0)] * 3
        pad[axis] = (0, 1)
        before = np.pad(cells, pad)
        blocks = before | np.roll(before, 1, axis=axis)
    return blocks


def _crossed_blocks(inside: Mask) -> Mask:
    """The blocks whose points are neither all inside nor all outside."""
    some, every = inside, inside
    for axis in range(3):
        some, every = _of_blocks(some, axis, np.logical_or), _of_blocks(every, axis, np.logical_and)
    return np.asarray(some & ~every)


def _of_blocks(points: Mask, axis: int, combine: np.ufunc) -> Mask:
    """Combine the points of each block, borders included, along one axis."""
    starts = np.arange(0, points.shape[axis] - 1, BLOCK)
    ahead = np.take(points, starts + BLOCK, axis)
    return np.asarray(combine(combine.reduceat(np.delete(points, -1, axis), starts, axis=axis), ahead))
