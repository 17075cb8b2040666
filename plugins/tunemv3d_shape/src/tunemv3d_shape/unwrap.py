"""Lay a surface out flat on a square texture."""

from dataclasses import dataclass

import numpy as np
import xatlas

from tunemv3d_shape.surface import Floats, Ints, Triangles

PADDING = 3
"""Texels between charts, so that a viewer's blending of neighbouring texels does not reach over."""


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


def unwrap(surface: Triangles, texture: int) -> Unwrapped:
    """Cut a surface into charts and pack them.

    Args:
        surface: best simplified before, because the time grows with the faces.
        texture: the side in texels for which the charts are spaced.
    """
    atlas = xatlas.Atlas()
    atlas.add_mesh(surface.vertices, surface.faces)
    packing = xatlas.PackOptions()
    packing.resolution, packing.padding, packing.bilinear = texture, PADDING, True
    atlas.generate(pack_options=packing)
    original, faces, uv = atlas[0]
    return Unwrapped(
        surface.vertices[original],
        np.asarray(faces, dtype=np.int32),
        np.asarray(uv, dtype=np.float32),
        np.asarray(original, dtype=np.int32),
    )
