"""Where a surface shows: see-through parts of it count neither in an object's centre nor in its size."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunemv3d_data.meshes.materials import Floats, Material

_MOST_STEPS = 256
"""Into which an edge is divided to find where a texture shows."""
_MOST_SAMPLES = 300_000


def shown_points(triangles: Any, material: Material, uv: Any, colours: Floats | None) -> NDArray[np.float64]:
    """Return points ``n 3`` that span what shows of triangles: their corners, or places where a texel is opaque.

    Args:
        triangles: ``f 3 3``, of one material.
        material: theirs.
        uv: ``f 3 2``; None for a plain material.
        colours: ``f 3 4``, factors on the texture, or None.
    """
    points = np.asarray(triangles, dtype=np.float64)
    alpha = material.texture[..., 3]
    is_even = colours is None or bool((colours[..., 3] > 0.5).all())
    if not len(points) or (is_even and alpha.min() > 127):
        return points.reshape(-1, 3)
    if is_even and alpha.max() <= 127:
        return np.empty((0, 3))
    weights = _weights(int(np.clip(np.sqrt(2 * _MOST_SAMPLES / len(points)), 2, _MOST_STEPS)))
    solid = np.ones((len(points), len(weights)))
    if uv is not None:
        solid = _alpha(alpha, material, weights @ uv) / 255
    if colours is not None:
        solid = solid * (colours[..., 3] @ weights.T)
    face, sample = np.nonzero(solid > 0.5)
    return np.asarray(np.einsum("nc,ncd->nd", weights[sample], points[face]))


def _weights(steps: int) -> NDArray[np.float64]:
    """Places in a triangle, ``s 3``, as weights of its corners."""
    first, second = np.meshgrid(np.arange(steps + 1), np.arange(steps + 1), indexing="ij")
    inside = first + second <= steps
    first, second = first[inside], second[inside]
    return np.stack([first, second, steps - first - second], axis=-1) / steps


def _alpha(alpha: Any, material: Material, place: Any) -> Any:
    """The alpha of the nearest texels, at texture coordinates ``... 2``."""
    cells = []
    for axis, (wrap, size) in enumerate(zip(material.wrap, alpha.shape[::-1], strict=True)):
        along = place[..., axis] if axis == 0 else 1 - place[..., axis]
        if wrap == "clamp":
            along = np.clip(along, 0, 1)
        elif wrap == "mirror":
            along = 1 - np.abs(along % 2 - 1)
        cells.append(np.minimum((along % 1 if wrap == "repeat" else along) * size, size - 1).astype(np.int64))
    return alpha[cells[1], cells[0]]
