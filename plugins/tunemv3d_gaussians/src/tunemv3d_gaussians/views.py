"""What all views say of points."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tunemv3d_core.cameras import Cameras

NEAREST_DEPTH = 1e-4
"""A camera sees points whose depth exceeds this, world units."""


def ask_views(features: Tensor, cameras: Cameras, points: Tensor) -> Tensor:
    """Mean and variance of the features over the views that see a point, and the share of views that do.

    Args:
        features: ``b n f h w``.
        cameras: ``b n``.
        points: ``b p 3``, world units; they get no gradient.

    Returns:
        ``b p (2 f + 1)``; all zero where no view sees the point.
    """
    pixels, depth = cameras.project(points.detach()[:, None])
    seen = (depth > NEAREST_DEPTH) & (pixels >= 0).all(-1) & (pixels <= 1).all(-1)
    # Unseen points are looked up far outside, where everything is zero.
    grid = torch.where(seen[..., None], pixels * 2 - 1, 3.0)
    samples = F.grid_sample(features.flatten(0, 1), grid.flatten(0, 1)[:, None], align_corners=False)
    samples = torch.unflatten(samples[:, :, 0], 0, features.shape[:2])
    mask = seen.to(features.dtype)[:, :, None]
    count = mask.sum(1).clamp(min=1)
    mean = samples.sum(1) / count
    variance = ((samples - mean[:, None]) * mask).square().sum(1) / count
    return torch.cat([mean, variance, mask.mean(1)], dim=1).mT
