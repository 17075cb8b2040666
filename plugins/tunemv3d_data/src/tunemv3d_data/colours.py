"""English names for colours, measured in OKLab (Björn Ottosson 2020), where equal distances look equally different."""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunemv3d_core.viz.colour_words import PALETTE

COLOURS: dict[str, tuple[int, int, int]] = {
    name: tuple(bytes.fromhex(shades[0]))  # type: ignore[misc]
    for name, shades in PALETTE.items()
}
"""The names that captions use, each with the sRGB colour that recoloured materials take."""

_BITS = 5


def colour_names(pixels: Any) -> NDArray[np.int64]:
    """Name every pixel's colour by its index in ``COLOURS``.

    Args:
        pixels: ``... 3`` sRGB, uint8.
    """
    cells = np.asarray(pixels, dtype=np.int64) >> (8 - _BITS)
    index = (cells[..., 0] << 2 * _BITS) | (cells[..., 1] << _BITS) | cells[..., 2]
    return np.asarray(_table()[index], dtype=np.int64)


def colour_name(rgb: Any) -> str:
    """Name one colour, sRGB from 0 to 255, shape (3,)."""
    return list(COLOURS)[int(_nearest(np.asarray(rgb, dtype=np.float64)[None])[0])]


def oklab(rgb: Any) -> NDArray[np.float64]:
    """Convert sRGB ``... 3`` from 0 to 255 to OKLab: lightness 0 to 1, then the green-red and blue-yellow axes."""
    value = np.asarray(rgb, dtype=np.float64) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    cones = linear @ np.array([[0.4122, 0.2119, 0.0883], [0.5363, 0.6807, 0.2817], [0.0514, 0.1074, 0.6300]])
    return np.asarray(
        np.cbrt(cones) @ np.array([[0.2105, 1.9780, 0.0259], [0.7936, -2.4286, 0.7828], [-0.0041, 0.4506, -0.8087]])
    )


@cache
def _table() -> NDArray[np.int64]:
    """Names of the centres of all cells of a coarse colour cube."""
    levels = (np.arange(2**_BITS) + 0.5) * 2 ** (8 - _BITS)
    cube = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    return np.concatenate([_nearest(part) for part in np.array_split(cube, 16)])


def _nearest(rgb: NDArray[np.float64]) -> NDArray[np.int64]:
    names = [index for index, shades in enumerate(PALETTE.values()) for _ in shades]
    examples = [list(bytes.fromhex(shade)) for shades in PALETTE.values() for shade in shades]
    # Hue tells names apart more than lightness does, which shading changes anyway.
    weights = np.array([0.6, 1.0, 1.0])
    difference = (oklab(rgb)[:, None] - oklab(np.array(examples))[None]) * weights
    return np.asarray(np.array(names)[np.square(difference).sum(-1).argmin(-1)], dtype=np.int64)
