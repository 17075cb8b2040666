"""Does the object have the colour that the prompt names?"""

import re

import torch
from torch import Tensor

PALETTE: dict[str, tuple[int, int, int]] = {
    "black": (30, 30, 30),
    "grey": (130, 130, 130),
    "white": (235, 235, 235),
    "brown": (110, 70, 40),
    "beige": (215, 195, 160),
    "red": (190, 35, 35),
    "orange": (230, 125, 30),
    "yellow": (235, 205, 50),
    "green": (50, 130, 60),
    "blue": (40, 70, 170),
    "light blue": (135, 185, 225),
    "purple": (110, 50, 140),
    "pink": (235, 140, 175),
}
"""Colour words and a typical shade of each, sRGB."""

_WORDS = re.compile("|".join(rf"\b{name}\b" for name in sorted(PALETTE, key=len, reverse=True)))


def named_colour(prompt: str) -> str | None:
    """The first colour word of a prompt: the object's main colour ("a green chair with yellow legs": green)."""
    found = _WORDS.search(prompt.lower().replace("gray", "grey"))
    return found.group() if found else None


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


def foreground_colour(images: Tensor, silhouettes: Tensor) -> list[str | None]:
    """The palette's word for each object's mean foreground colour: the nearest in CIELAB (1976 difference).

    Args:
        images: ``b n 3 H W`` in [-1, 1].
        silhouettes: ``b n H W``, boolean.

    Returns:
        b words; None where there is no foreground.
    """
    names = list(PALETTE)
    shades = torch.tensor([PALETTE[name] for name in names], dtype=torch.float64) / 255
    means = mean_colour(images, silhouettes).double().cpu()
    nearest = torch.cdist(srgb_to_lab(means), srgb_to_lab(shades)).argmin(-1)
    return [names[k] if mean.isfinite().all() else None for k, mean in zip(nearest.tolist(), means, strict=True)]


def srgb_to_lab(rgb: Tensor) -> Tensor:
    """Convert sRGB ``... 3`` in [0, 1] to CIELAB ``... 3`` under D65 (IEC 61966-2-1, CIE 15)."""
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = rgb.new_tensor(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    xyz = linear @ to_xyz.T / to_xyz.sum(-1)
    f = torch.where(xyz > (6 / 29) ** 3, xyz.clamp(min=1e-9) ** (1 / 3), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = f.unbind(-1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=-1)
