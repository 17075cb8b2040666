"""The contrastive loss, which knows which texts fit which pictures, and the augmentation of the pictures."""

import torch
import torch.nn.functional as F
from torch import Tensor


def contrast(pictures: Tensor, texts: Tensor, scale: Tensor, objects: Tensor, told: Tensor) -> Tensor:
    """Contrast picture i with text i against the texts and pictures of the batch that do not fit.

    A text fits every picture of which all that it says is true. Such a picture is no wrong answer to the text. A text
    that fits and says at least as much as the picture's own is no wrong answer to the picture; one that says less is,
    so that the fullest fitting text comes first.

    Args:
        pictures: unit vectors, ``n d``.
        texts: theirs, ``n d``.
        scale: inverse temperature.
        objects: attributes of the pictured objects as numbers, ``n k``.
        told: attributes that the texts name, ``n k``, 0 for unnamed.
    """
    logits = (scale * pictures @ texts.T).float()
    own = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    fits = ((told[None] == 0) | (told[None] == objects[:, None])).all(-1) & ~own
    says = (told > 0).sum(-1)
    right = torch.arange(len(logits), device=logits.device)
    to_text = logits.masked_fill(fits & (says[None] >= says[:, None]), -torch.inf)
    to_picture = logits.masked_fill(fits, -torch.inf).T
    return (F.cross_entropy(to_text, right) + F.cross_entropy(to_picture, right)) / 2


def augment(pictures: Tensor) -> Tensor:
    """Move, mirror, scale, blur, light and grain pictures at random; hues stay, since the texts name them.

    Args:
        pictures: ``n 3 H W`` in [0, 1] over white.
    """
    n, device = len(pictures), pictures.device
    scale = 1 + 0.35 * (torch.rand(n, device=device) - 0.6)
    stretch = 1 + 0.15 * (torch.rand(n, device=device) - 0.5)
    mirror = torch.where(torch.rand(n, device=device) < 0.5, -1.0, 1.0)
    shift = 0.2 * (torch.rand(n, 2, device=device) - 0.5)
    affine = torch.zeros(n, 2, 3, device=device)
    affine[:, 0, 0], affine[:, 1, 1], affine[:, :, 2] = scale * stretch * mirror, scale / stretch, shift
    grid = F.affine_grid(affine, list(pictures.shape), align_corners=False)
    moved = 1 - F.grid_sample(1 - pictures, grid, align_corners=False)
    soft = F.avg_pool2d(F.pad(moved, (1, 1, 1, 1), mode="replicate"), 3, 1)
    share = torch.rand(n, 1, 1, 1, device=device) * (torch.rand(n, 1, 1, 1, device=device) < 0.5)
    moved = torch.lerp(moved, soft, share)
    light = 1 + 0.2 * (torch.rand(n, 1, 1, 1, device=device) - 0.5)
    grain = 0.04 * torch.rand(n, 1, 1, 1, device=device) * torch.randn_like(moved)
    # Light multiplies what differs from the white ground less than it does the ground itself: the ground stays white.
    return (torch.where(moved > 0.98, moved, moved * light) + grain).clamp(0, 1)
