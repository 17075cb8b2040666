"""Parts of a mesh as its file's reader gives them, and the fitted mesh that they make together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.meshes.checks import MAX_FACES, check_faces
from tunemv3d_data.meshes.materials import Floats, Material
from tunemv3d_data.meshes.normals import corner_normals, crosses, unit
from tunemv3d_data.notes import note

_OFF_FACE = 0.58
"""Cosine to its face's normal below which a normal of a file is not used (54.5 degrees off). A box whose corners are
smoothed over their three faces has normals 54.7 degrees off each: its flat sides would be lit like a ball's."""
_NOTED = 0.02


@dataclass(frozen=True)
class Part:
    """Triangles of one material, all transforms of the file applied.

    Attributes:
        triangles: ``f 3 3`` corners in the file's units and axes.
        material: theirs.
        uv: ``f 3 2`` texture coordinates of the corners, v upwards; None for none.
        normals: ``f 3 3`` normals of the corners that the file gives, of any length; None for none. Those that are
            not finite, of no length or far off their face's are computed instead.
        colours: ``f 3 4`` factors on the texture in linear light; None for none.
    """

    triangles: NDArray[np.float64]
    material: Material
    uv: Floats | None = None
    normals: Floats | None = None
    colours: Floats | None = None


def shading_normals(triangles: Floats, parts: Sequence[Part], turn: Any) -> Floats:
    """Take the normals ``f 3 3`` that the files give, turned, and compute the others.

    Args:
        triangles: ``f 3 3``, the corners of all parts, fitted.
        parts: in the same order.
        turn: 3x3, applied to the files' normals.
    """
    if all(part.normals is None for part in parts):
        return corner_normals(triangles)
    given = np.zeros_like(triangles)
    start = 0
    for part in parts:
        stop = start + len(part.triangles)
        if part.normals is not None:
            given[start:stop] = unit(part.normals @ turn.T)
        start = stop
    flat = unit(crosses(triangles))
    length, cosine = (np.abs((given * other).sum(-1)) for other in (given, flat[:, None]))
    is_flat = np.linalg.norm(flat, axis=-1) > 0.5
    with np.errstate(invalid="ignore"):
        is_sane = (np.abs(length - 1) < 1e-3) & ((cosine > _OFF_FACE) | ~is_flat[:, None])
    claimed = sum(part.normals.size // 3 for part in parts if part.normals is not None)
    if claimed - is_sane.sum() > _NOTED * claimed:
        note("no normals", f"{claimed - is_sane.sum():,} of {claimed:,} normals are unusable; computed instead")
    if is_sane.all():
        return given
    return np.where(is_sane[..., None], given, corner_normals(triangles))


def check_parts(parts: Sequence[Part], max_faces: int = MAX_FACES) -> None:
    """Refuse parts that make no mesh.

    Raises:
        DatasetError: no triangles, or too many.
    """
    if not any(len(part.triangles) for part in parts):
        raise DatasetError("holds no triangles")
    check_faces(sum(len(part.triangles) for part in parts), max_faces)
