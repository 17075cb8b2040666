"""Silhouettes of pictures, and how well two of them agree."""

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d


def silhouettes(images: Tensor, threshold: float = 0.05) -> Tensor:
    """Find the pixels that show the object: those that differ from the white ground.

    Args:
        images: ``... 3 H W`` in [-1, 1].
        threshold: how far a channel, in [0, 1], must lie below white: above the haze that a decoder leaves on a white
            ground (0.005 for sd-mini), below the shading of white objects: at 0.1 white chairs and sofas lose up to a
            third of their surface. What is lit as white as the ground itself cannot be told from it at any threshold.

    Returns:
        ``... H W``, boolean.
    """
    return (1 - (images + 1) / 2).amax(dim=-3) > threshold


def in_cells(silhouettes: Tensor, opacity: Tensor) -> Tensor:
    """Return silhouettes ``b n H W`` at the opacity's size: cells of which more than half is foreground."""
    return adaptive_avg_pool2d(silhouettes.float(), (opacity.shape[-2], opacity.shape[-1])) > 0.5


def silhouettes_iou(one: Tensor, other: Tensor) -> Tensor:
    """Return the intersection over union of boolean ``... h w``; 1 where both are empty."""
    union = (one | other).sum((-2, -1))
    return torch.where(union > 0, (one & other).sum((-2, -1)) / union.clamp(min=1), 1.0)
