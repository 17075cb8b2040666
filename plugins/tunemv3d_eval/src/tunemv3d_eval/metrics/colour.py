"""Does the object have the colour that the prompt names?"""

import re
from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Tensor

from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.slots import Figure, MeasuredObject, Need
from tunemv3d_core.viz.colour_words import PALETTE

_WORDS = re.compile("|".join(rf"\b{name}\b" for name in sorted(PALETTE, key=len, reverse=True)))


def named_colour(prompt: str) -> str | None:
    """The first colour word of a prompt: the object's main colour ("a green chair with yellow legs": green)."""
    found = _WORDS.search(prompt.lower().replace("gray", "grey"))
    return found.group() if found else None


def foreground_colour(images: Tensor, silhouettes: Tensor) -> list[str | None]:
    """The word that most foreground pixels of an object bear, over all its views.

    Of the packaged chairs this vote names the caption's colour in 92 %. The mean colour does so far less often (in 18
    of 28 chairs where the vote does in 25): the mean of an orange seat and black legs is brown.

    Args:
        images: ``b n 3 H W`` in [-1, 1].
        silhouettes: ``b n H W``, boolean.

    Returns:
        b words; None where there is no foreground.
    """
    return [commonest_words(views, masks[None])[0] for views, masks in zip(images, silhouettes, strict=True)]


def commonest_words(images: Tensor, masks: Tensor) -> list[str | None]:
    """The word that most pixels of each mask bear, over all views of an object.

    Args:
        images: ``n 3 H W`` in [-1, 1].
        masks: ``m n H W``, boolean.

    Returns:
        m words; None where a mask has no pixel.
    """
    view, row, column = masks.any(0).nonzero(as_tuple=True)
    words = colour_words((images[view, :, row, column].clamp(-1, 1) + 1) / 2)
    # A product of matrices counts without making a GPU be waited for, as bincount does.
    bears = (words[:, None] == torch.arange(len(PALETTE), device=words.device)).float()
    votes = (masks[:, view, row, column].float() @ bears).tolist()
    names = list(PALETTE)
    return [names[of.index(max(of))] if any(of) else None for of in votes]


def colour_words(rgb: Tensor) -> Tensor:
    """The index in ``PALETTE`` of each colour ``p 3`` (sRGB in [0, 1]): the word of the nearest shade, ``p``.

    Nearest in OKLab with lightness weighted by 0.6, because shading changes lightness and leaves the word.
    """
    shades, words, weights = _shades(rgb.dtype, rgb.device)
    return words[torch.cdist(oklab(rgb) * weights, shades).argmin(-1)]


def oklab(rgb: Tensor) -> Tensor:
    """Convert sRGB ``... 3`` in [0, 1] to OKLab ``... 3`` (Ottosson 2020): lightness, green-red, blue-yellow."""
    to_cones, to_lab = _oklab_matrices(rgb.dtype, rgb.device)
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return ((linear @ to_cones.T).clamp(min=0) ** (1 / 3)) @ to_lab.T


@lru_cache
def _shades(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return the palette's shades ``s 3`` in weighted OKLab, the number of each one's word ``s``, and the weights."""
    shades = [list(bytes.fromhex(shade)) for its in PALETTE.values() for shade in its]
    words = torch.tensor([k for k, its in enumerate(PALETTE.values()) for _ in its], device=device)
    weights = torch.tensor([0.6, 1.0, 1.0], dtype=dtype, device=device)
    return oklab(torch.tensor(shades, dtype=dtype, device=device) / 255) * weights, words, weights


@lru_cache
def _oklab_matrices(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return OKLab's two matrices. Kept, because a GPU has to be waited for when it gets numbers."""
    to_cones = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    to_lab = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    return torch.tensor(to_cones, dtype=dtype, device=device), torch.tensor(to_lab, dtype=dtype, device=device)


class Colour:
    """``foreground_colour`` beside ``named_colour``; says nothing where the prompt names no colour."""

    figures: Mapping[str, Figure] = {
        "colour_met": Figure("share of prompts whose named colour the foreground has", low=0, high=1),
    }
    needs: tuple[Need, ...] = ()

    def measure(self, sample: MeasuredObject, model: MultiviewDiffusion) -> Mapping[str, float | None]:
        """Compare the colour of the prompt with that of the pictures."""
        named = named_colour(sample.prompt)
        if named is None:
            return {"colour_met": None}
        (seen,) = foreground_colour(sample.images[None], sample.silhouettes[None])
        return {"colour_met": float(named == seen)}


def build_colour(spec: ComponentSpec) -> Colour:
    """Build the metric ``colour``."""
    return Colour()
