"""English names for colours, measured in OKLab (Björn Ottosson 2020), where equal distances look equally different."""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (200, 32, 36),
    "orange": (238, 126, 30),
    "yellow": (242, 208, 48),
    "green": (48, 150, 62),
    "turquoise": (46, 186, 178),
    "light blue": (140, 196, 236),
    "blue": (38, 78, 190),
    "purple": (126, 60, 166),
    "pink": (238, 140, 182),
    "brown": (116, 72, 40),
    "beige": (218, 198, 164),
    "white": (240, 240, 238),
    "grey": (134, 134, 136),
    "black": (36, 36, 38),
}
"""The names that captions use, each with the sRGB colour that recoloured materials take."""

# Further sRGB examples of each name: its darker, lighter and duller sorts.
_FURTHER: dict[str, str] = {
    "red": "96181c 641216 e23c34 be3c50 962a1e 964a4c e13e16 ac283e 822d3c 6e2630",
    "orange": "d66818 c8681a f89e42 e86024",
    "yellow": "d6ae26 fae66e ecc85a be9c14",
    "green": "1c5c28 6eb432 8ccd54 3c5024 28c846 283a22 788c3c 426e48 608060 34503a",
    "turquoise": "5aa09c 1e8282 78d6ce",
    "light blue": "6ca8dc 7a9cb6 b0d4ee 58b0ec",
    "blue": "182878 3c6ed2 181e46 1c3c5c 466496 2c6eb4 2c465c 405674 62728e",
    "purple": "604c6e 9682ac 54246e a068c8 6e1e6e 3c1e50",
    "pink": "ce96a4 f6b2cc dc6496 ec788c dc3c8c",
    "brown": "966236 54321e b07846 3a261c 8c4622 b88858 625040 8c6c56 a07d64",
    "beige": "c6aa82 e8dcc4 ceb698 b2a086",
    "white": "ffffff dededc cecece f6f2e8",
    "grey": "6e6e70 a0a0a2 b6b6b6 545456 464648 827a70",
    "black": "141416 343436 2c2826 1e222c",
}
_BITS = 5


def colour_names(pixels: Any) -> NDArray[np.int64]:
    """The index in ``COLOURS`` of every pixel's colour.

    Args:
        pixels: ``... 3`` sRGB, uint8.
    """
    cells = np.asarray(pixels, dtype=np.int64) >> (8 - _BITS)
    index = (cells[..., 0] << 2 * _BITS) | (cells[..., 1] << _BITS) | cells[..., 2]
    return np.asarray(_table()[index], dtype=np.int64)


def colour_name(rgb: Any) -> str:
    """The name of one colour, sRGB from 0 to 255, shape (3,)."""
    return list(COLOURS)[int(_nearest(np.asarray(rgb, dtype=np.float64)[None])[0])]


def oklab(rgb: Any) -> NDArray[np.float64]:
    """SRGB ``... 3`` from 0 to 255 to OKLab: lightness 0 to 1, then the green-red and blue-yellow axes."""
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
    names, examples = [], []
    for index, (name, colour) in enumerate(COLOURS.items()):
        for example in (colour, *map(bytes.fromhex, _FURTHER[name].split())):
            names.append(index)
            examples.append(tuple(example))
    # Hue tells names apart more than lightness does, which shading changes anyway.
    weights = np.array([0.6, 1.0, 1.0])
    difference = (oklab(rgb)[:, None] - oklab(np.array(examples))[None]) * weights
    return np.asarray(np.array(names)[np.square(difference).sum(-1).argmin(-1)], dtype=np.int64)
