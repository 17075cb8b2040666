"""Point samples of surfaces, several a pixel, and what a picture's pixels become from them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tunemv3d_data.meshes.mesh import Floats
from tunemv3d_data.renderers.light import BRIGHTEST


@dataclass(frozen=True)
class Samples:
    """Samples of one view, one entry for each that met something opaque.

    Attributes:
        index: ``r``, which sample: a ray's number, or a pixel's.
        depth: ``r``, z in the camera.
        normal: ``r 3``, world space, on the side that one looks at.
        albedo: ``r 3``, sRGB 0 to 255.
        material: ``r``.
    """

    index: NDArray[np.int64]
    depth: Floats
    normal: Floats
    albedo: Floats
    material: NDArray[np.int32]


def resolve(samples: Samples, colour: Floats, size: tuple[int, int], per_pixel: int) -> dict[str, object]:
    """Average the samples of every pixel. Depth, normal and material are those of the pixel's nearest surface.

    Args:
        samples: with ``index`` the pixel, row by row.
        colour: ``r 3``, as lit, sRGB 0 to 255.
        size: (h, w) in pixels.
        per_pixel: samples that a covered pixel has.

    Returns:
        A view, as mesh renderers yield it.
    """
    count, pixel = size[0] * size[1], samples.index

    def sums(values: Floats, of: NDArray[np.int64]) -> Floats:
        columns = [np.bincount(of, values[:, i], minlength=count) for i in range(values.shape[1])]
        return np.stack(columns, axis=-1)

    coverage = np.bincount(pixel, minlength=count)
    some = np.maximum(coverage, 1)[:, None]
    rgba = np.zeros((count, 4), dtype=np.uint8)
    rgba[:, :3] = np.rint(np.minimum(sums(colour, pixel) / some, BRIGHTEST))
    rgba[:, 3] = np.rint(coverage * (255 / per_pixel))
    nearest = np.full(count, np.inf, dtype=np.float32)
    np.minimum.at(nearest, pixel, samples.depth)
    front = samples.depth <= nearest[pixel] * 1.02
    shown, depth = pixel[front], samples.depth[front]
    layers = np.maximum(np.bincount(shown, minlength=count), 1)
    normals = sums(samples.normal[front], shown)
    normals = normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
    material = np.full(count, -1, dtype=np.int16)
    material[shown] = samples.material[front]
    return {
        "rgba": rgba.reshape(*size, 4),
        "depth": (np.bincount(shown, depth, minlength=count) / layers).astype(np.float32).reshape(size),
        "normals": normals.astype(np.float32).reshape(*size, 3),
        "albedo": np.rint(sums(samples.albedo, pixel) / some).astype(np.uint8).reshape(*size, 3),
        "material": material.reshape(size),
    }
