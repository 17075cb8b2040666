"""Does the object have the colour that the prompt names?"""

import re

import torch
from torch import Tensor

PALETTE: dict[str, tuple[str, ...]] = {
    "red": ("c82024", "96181c", "641216", "e23c34", "be3c50", "962a1e", "e13e16", "ac283e"),
    "orange": ("ee7e1e", "d66818", "f89e42", "e86024"),
    "yellow": ("f2d030", "d6ae26", "fae66e", "ecc85a", "be9c14"),
    "green": ("30963e", "1c5c28", "6eb432", "8ccd54", "3c5024", "28c846", "283a22", "788c3c"),
    "turquoise": ("2ebab2", "1e8282", "78d6ce"),
    "light blue": ("8cc4ec", "6ca8dc", "b0d4ee", "58b0ec"),
    "blue": ("264ebe", "182878", "3c6ed2", "181e46", "1c3c5c", "466496", "2c6eb4"),
    "purple": ("7e3ca6", "54246e", "a068c8", "6e1e6e", "3c1e50"),
    "pink": ("ee8cb6", "f6b2cc", "dc6496", "ec788c", "dc3c8c"),
    "brown": ("744828", "966236", "54321e", "b07846", "3a261c", "8c4622", "b88858", "625040"),
    "beige": ("dac6a4", "c6aa82", "e8dcc4", "ceb698", "b2a086"),
    "white": ("f0f0ee", "ffffff", "dededc", "cecece", "f6f2e8"),
    "grey": ("868688", "6e6e70", "a0a0a2", "b6b6b6", "545456", "827a70"),
    "black": ("242426", "141416", "343436", "2c2826", "1e222c"),
}
"""Colour words and shades that bear them, sRGB: the words of the packaged chairs' captions, told apart as there."""

_WORDS = re.compile("|".join(rf"\b{name}\b" for name in sorted(PALETTE, key=len, reverse=True)))


def named_colour(prompt: str) -> str | None:
    """The first colour word of a prompt: the object's main colour ("a green chair with yellow legs": green)."""
    found = _WORDS.search(prompt.lower().replace("gray", "grey"))
    return found.group() if found else None


def foreground_colour(images: Tensor, silhouettes: Tensor) -> list[str | None]:
    """The word for each object's mean foreground colour.

    Args:
        images: ``b n 3 H W`` in [-1, 1].
        silhouettes: ``b n H W``, boolean.

    Returns:
        b words; None where there is no foreground.
    """
    means = mean_colour(images, silhouettes).double().cpu()
    words = colour_words(means)
    return [word if mean.isfinite().all() else None for word, mean in zip(words, means, strict=True)]


def mean_colour(images: Tensor, silhouettes: Tensor) -> Tensor:
    """Mean colour of the foreground of all views of each object.

    Args:
        images: ``b n 3 H W`` in [-1, 1].
        silhouettes: ``b n H W``, boolean.

    Returns:
        ``b 3``, sRGB in [0, 1]; not a number where there is no foreground.
    """
    weights = silhouettes.to(images.dtype)
    rgb = (images.clamp(-1, 1) + 1) / 2
    return (rgb * weights[:, :, None]).sum((1, 3, 4)) / weights.sum((1, 2, 3))[:, None]


def colour_words(rgb: Tensor) -> list[str]:
    """The palette's word for each colour ``p 3`` (sRGB in [0, 1]): that of the nearest shade.

    Nearest in OKLab with lightness weighted by 0.6, because shading changes lightness and leaves the word.
    """
    shades = [(name, shade) for name, its in PALETTE.items() for shade in its]
    known = torch.tensor([list(bytes.fromhex(shade)) for _, shade in shades], dtype=rgb.dtype, device=rgb.device) / 255
    weights = rgb.new_tensor([0.6, 1.0, 1.0])
    nearest = torch.cdist(oklab(rgb) * weights, oklab(known) * weights).argmin(-1)
    return [shades[k][0] for k in nearest.tolist()]


def oklab(rgb: Tensor) -> Tensor:
    """Convert sRGB ``... 3`` in [0, 1] to OKLab ``... 3`` (Ottosson 2020): lightness, green-red, blue-yellow."""
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_cones = rgb.new_tensor(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    to_lab = rgb.new_tensor(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    return ((linear @ to_cones.T).clamp(min=0) ** (1 / 3)) @ to_lab.T
