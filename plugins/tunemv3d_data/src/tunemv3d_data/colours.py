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

_FURTHER: dict[str, tuple[tuple[int, int, int], ...]] = {
    "red": (
        (150, 24, 28),
        (100, 18, 22),
        (226, 60, 52),
        (190, 60, 80),
        (150, 42, 30),
        (150, 74, 76),
        (225, 62, 22),
        (172, 40, 62),
    ),
    "orange": ((214, 104, 24), (200, 104, 26), (248, 158, 66), (232, 96, 36)),
    "yellow": ((214, 174, 38), (250, 230, 110), (236, 200, 90), (190, 156, 20)),
    "green": (
        (28, 92, 40),
        (110, 180, 50),
        (140, 205, 84),
        (60, 80, 36),
        (40, 200, 70),
        (40, 58, 34),
        (120, 140, 60),
        (66, 110, 72),
        (96, 128, 96),
    ),
    "turquoise": ((90, 160, 156), (30, 130, 130), (120, 214, 206)),
    "light blue": ((108, 168, 220), (122, 156, 182), (176, 212, 238), (88, 176, 236)),
    "blue": (
        (24, 40, 120),
        (60, 110, 210),
        (24, 30, 70),
        (28, 60, 92),
        (70, 100, 150),
        (44, 110, 180),
        (44, 70, 92),
        (64, 86, 116),
    ),
    "purple": ((96, 76, 110), (150, 130, 172), (84, 36, 110), (160, 104, 200), (110, 30, 110), (60, 30, 80)),
    "pink": ((206, 150, 164), (246, 178, 204), (220, 100, 150), (236, 120, 140), (220, 60, 140)),
    "brown": ((150, 98, 54), (84, 50, 30), (176, 120, 70), (58, 38, 28), (140, 70, 34), (184, 136, 88), (98, 80, 64)),
    "beige": ((198, 170, 130), (232, 220, 196), (206, 182, 152), (178, 160, 134)),
    "white": ((255, 255, 255), (222, 222, 220), (206, 206, 206), (246, 242, 232)),
    "grey": ((110, 110, 112), (160, 160, 162), (182, 182, 182), (84, 84, 86), (130, 122, 112)),
    "black": ((20, 20, 22), (52, 52, 54), (44, 40, 38), (30, 34, 44)),
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
        for example in (colour, *_FURTHER[name]):
            names.append(index)
            examples.append(example)
    # Hue tells names apart more than lightness does, which shading changes anyway.
    weights = np.array([0.6, 1.0, 1.0])
    difference = (oklab(rgb)[:, None] - oklab(np.array(examples))[None]) * weights
    return np.asarray(np.array(names)[np.square(difference).sum(-1).argmin(-1)], dtype=np.int64)
