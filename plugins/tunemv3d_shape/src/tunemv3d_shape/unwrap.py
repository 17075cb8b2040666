"""Lay a surface out flat on a square texture.

xatlas cannot be stopped and takes minutes for surfaces whose edges belong to many faces, so it works in a process of
its own, which is ended after a time. Then every triangle gets a half square for itself.
"""

import io
import subprocess
import sys
from dataclasses import dataclass

import numpy as np

from tunemv3d_core.errors import SampleError
from tunemv3d_shape.surface import Floats, Ints, Triangles

CELL = 4
"""Texels along the side of the smallest square that two triangles share: each has texels of its own at its corners."""

OUTSIDE = 0.25
"""Texels by which a triangle reaches beyond the middles of its corner texels, so that these belong to it."""


@dataclass(frozen=True)
class Unwrapped:
    """A surface whose vertices are doubled along the seams of its charts.

    Attributes:
        vertices: ``v 3``, world units.
        faces: ``f 3``.
        uv: ``v 2``, 0 to 1, u to the right and v upwards.
        original: ``v``, the surface's vertex that each was.
    """

    vertices: Floats
    faces: Ints
    uv: Floats
    original: Ints


def unwrap(surface: Triangles, texture: int, seconds: float = 60.0) -> tuple[Unwrapped, str]:
    """Cut a surface into charts and pack them.

    Args:
        surface: best simplified before, because the time grows with the faces.
        texture: the side in texels for which the charts are spaced.
        seconds: time limit; after it triangles are laid out one by one.

    Returns:
        The surface, and a sentence where the charts took too long; "" where they did not.

    Raises:
        SampleError: too many triangles to be laid out one by one.
    """
    given = io.BytesIO()
    np.savez(given, vertices=surface.vertices, faces=surface.faces, texture=texture)
    worker = [sys.executable, "-m", "tunemv3d_shape.charts"]
    try:
        done = subprocess.run(worker, input=given.getvalue(), capture_output=True, timeout=seconds, check=False)
        reason = "" if done.returncode == 0 else f"xatlas ended with code {done.returncode}"
    except subprocess.TimeoutExpired:
        reason = f"charts took longer than {seconds:g} s"
    if reason:
        told = (
            f"{reason}: every triangle has its own place in the texture, which is coarser and has a seam at every edge"
        )
        return triangle_by_triangle(surface, texture), told
    with np.load(io.BytesIO(done.stdout)) as made:
        return Unwrapped(surface.vertices[made["original"]], made["faces"], made["uv"], made["original"]), ""


def triangle_by_triangle(surface: Triangles, texture: int) -> Unwrapped:
    """Give every two triangles a square of the texture.

    Raises:
        SampleError: the squares would be smaller than ``CELL`` texels.
    """
    count = len(surface.faces)
    side = int(np.ceil(np.sqrt(np.ceil(count / 2))))
    cell = texture // side
    if cell < CELL:
        raise SampleError(
            f"a texture of {texture} x {texture} has no room for {count} triangles: fewer --faces, or --texture "
            f"{side * CELL}"
        )
    low, high = 0.5 - OUTSIDE, cell - 0.5 + OUTSIDE
    long = cell - 1.5 + 2 * OUTSIDE  # the other triangle's corner texels begin beyond it
    lower = np.array([[low, low], [low + long - 1, low], [low, low + long - 1]])
    upper = np.array([[high, high], [high - long + 1, high], [high, high - long + 1]])
    square, second = np.divmod(np.arange(count), 2)
    place = np.stack([square % side, square // side], axis=-1)[:, None] * cell
    uv = np.where(second[:, None, None] == 1, upper, lower) + place
    corners = surface.faces.reshape(-1)
    faces = np.arange(len(corners), dtype=np.int32).reshape(-1, 3)
    return Unwrapped(
        surface.vertices[corners], faces, np.asarray(uv.reshape(-1, 2) / texture, dtype=np.float32), corners
    )
