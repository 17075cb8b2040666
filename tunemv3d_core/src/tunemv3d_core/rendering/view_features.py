"""Sampling of the views' feature maps at points, shared by aggregators and fields."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.rendering.precision import full_precision

NEAREST_DEPTH = 1e-4
"""A camera sees points whose depth exceeds this, world units."""


@dataclass(frozen=True)
class ViewFeatures:
    """Features of p points in each of n views.

    Attributes:
        features: ``b p n f``, zero where a view does not see the point.
        directions: ``b p n 3``, unit vectors from the cameras to the points, in the world; zero like ``features``.
        visible: ``b p n``, 1 where the point lies before the camera and inside its image, else 0.
    """

    features: Tensor
    directions: Tensor
    visible: Tensor

    def moments(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance over the views by weights ``b p n``, each ``b p f``; zero where all weights are."""
        shares = (weights / weights.sum(-1, keepdim=True).clamp(min=1e-6))[..., None]
        mean = (shares * self.features).sum(2)
        return mean, (shares * (self.features - mean[:, :, None]).square()).sum(2)


def sample_view_features(features: Tensor, cameras: Cameras, points: Tensor) -> ViewFeatures:
    """Sample the views' feature maps at points, in float32 (or float64) under autocast too.

    Args:
        features: ``b n f h w``.
        cameras: ``b n``.
        points: ``b p 3``, world units.
    """
    with full_precision(features):
        features = features if features.dtype == torch.float64 else features.float()
        cameras, points = cameras.to(features.dtype), points.to(features.dtype)
        samples, visible = _sample_maps(features, cameras, points)
        mask = visible.mT.to(features.dtype)
        offsets = points[:, :, None] - cameras.origins[:, None]
        directions = offsets / offsets.norm(dim=-1, keepdim=True).clamp(min=1e-6) * mask[..., None]
        return ViewFeatures(samples.permute(0, 3, 1, 2).contiguous(), directions, mask)


def mean_variance(features: Tensor, cameras: Cameras, points: Tensor) -> Tensor:
    """Summarise the views that see a point, in the dtype of the inputs (SparseNeuS's cost volume).

    Args:
        features: ``b n f h w``.
        cameras: ``b n``.
        points: ``b p 3``, world units.

    Returns:
        ``b p (2 f + 1)``: mean, variance, share of views; all zero where no view sees the point.
    """
    samples, visible = _sample_maps(features, cameras, points)
    mask = visible.to(features.dtype)
    count = mask.sum(1)[:, None].clamp(min=1)
    mean = samples.sum(1) / count
    # Two passes: the mean of squares minus the squared mean would cancel.
    variance = ((samples - mean[:, None]) * mask[:, :, None]).square().sum(1) / count
    return torch.cat([mean, variance, mask.mean(1, keepdim=True)], dim=1).mT


def _sample_maps(features: Tensor, cameras: Cameras, points: Tensor) -> tuple[Tensor, Tensor]:
    """Sample every view at every point, bilinearly, with zeros outside the image.

    Returns:
        ``b n f p`` and, as booleans, which view sees which point, ``b n p``.
    """
    pixels, depth = cameras.project(points[:, None])
    visible = (depth > NEAREST_DEPTH) & (pixels >= 0).all(-1) & (pixels <= 1).all(-1)
    # Points that a view does not see are sampled far outside, where everything is zero.
    grid = torch.where(visible[..., None], pixels * 2 - 1, torch.full_like(pixels, 3.0))
    samples = F.grid_sample(features.flatten(0, 1), grid.flatten(0, 1)[:, None], align_corners=False)
    return torch.unflatten(samples[:, :, 0], 0, features.shape[:2]), visible
