"""The aggregator ``mean-variance`` (paper B.1 follows SparseNeuS): what all views that see a point say of it.

Its own look-up is shared by the aggregators that weigh views (``visibility.py``, ``attention.py``).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.rendering.precision import full_precision
from tunemv3d_neus.kernels import HAVE_TRITON
from tunemv3d_neus.spec import MeanVarianceSpec

NEAREST_DEPTH = 1e-4
"""A camera sees points whose depth exceeds this, world units."""

FUSED_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
"""Feature maps that the fused kernel takes."""


def build(spec: MeanVarianceSpec, features: int) -> "MeanVariance":
    """Build the aggregator of ``features`` channels."""
    return MeanVariance(features)


class MeanVariance(nn.Module):
    """Mean and variance over the views that see a point, and the share of views that do: ``2 f + 1`` channels.

    A view sees a point in front of its camera and inside its image. Points get no gradient: finite differences, not
    derivatives, tell the field's slope.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.channels = 2 * features + 1

    def forward(self, features: Tensor, cameras: Cameras, points: Tensor) -> Tensor:
        """Aggregate.

        Args:
            features: ``b n f h w``.
            cameras: ``b n``.
            points: ``b p 3``, world units.

        Returns:
            ``b p (2 f + 1)``, float32: mean, variance, share of views; all zero where no view sees the point.
        """
        if features.is_cuda and HAVE_TRITON:
            from tunemv3d_neus.kernels.mean_variance import LARGEST_FEATURES, fused_mean_variance

            if features.shape[2] <= LARGEST_FEATURES and features.dtype in FUSED_DTYPES:
                return fused_mean_variance(features, cameras, points)
        with full_precision(features):
            return mean_variance(features.float(), cameras, points.detach().float())


def mean_variance(features: Tensor, cameras: Cameras, points: Tensor) -> Tensor:
    """The reference in plain torch, in the dtype of its inputs; shapes as ``MeanVariance.forward``."""
    samples, seen = sample_views(features, cameras, points)
    mask = seen.to(features.dtype)
    count = mask.sum(1)[:, None].clamp(min=1)
    mean = samples.sum(1) / count
    # Two passes: the mean of squares minus the squared mean would cancel.
    variance = ((samples - mean[:, None]) * mask[:, :, None]).square().sum(1) / count
    share = mask.mean(1, keepdim=True)
    return torch.cat([mean, variance, share], dim=1).mT


def sample_views(features: Tensor, cameras: Cameras, points: Tensor) -> tuple[Tensor, Tensor]:
    """Look every point up in every view, bilinearly, with zeros outside the image.

    Returns:
        ``b n f p`` and, as booleans, which view sees which point, ``b n p``.
    """
    b, n = features.shape[:2]
    pixels, depth = cameras.project(points[:, None])
    seen = (depth > NEAREST_DEPTH) & (pixels >= 0).all(-1) & (pixels <= 1).all(-1)
    # Unseen points are looked up far outside, where everything is zero.
    grid = torch.where(seen[..., None], pixels * 2 - 1, torch.full_like(pixels, 3.0))
    samples = F.grid_sample(features.flatten(0, 1), grid.flatten(0, 1)[:, None], align_corners=False)
    return torch.unflatten(samples[:, :, 0], 0, (b, n)), seen


@dataclass(frozen=True)
class ViewsOfPoints:
    """What each view shows of each point, for aggregators that weigh views.

    Attributes:
        features: ``b p n f``, zero where a view does not see the point.
        directions: ``b p n 3``, unit vectors from the cameras to the points, in the world; zero like ``features``.
        seen: ``b p n``, 1 or 0.
    """

    features: Tensor
    directions: Tensor
    seen: Tensor

    def moments(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance over the views by weights ``b p n``, each ``b p f``; zero where no view has weight."""
        shares = (weights / weights.sum(-1, keepdim=True).clamp(min=1e-6))[..., None]
        mean = (shares * self.features).sum(2)
        return mean, (shares * (self.features - mean[:, :, None]).square()).sum(2)


def sample_view_features(features: Tensor, cameras: Cameras, points: Tensor) -> ViewsOfPoints:
    """Features ``b n f h w`` at points ``b p 3`` seen by cameras ``b n``, in float32 (or float64) under autocast too.

    Points get no gradient.
    """
    with full_precision(features):
        features = features if features.dtype == torch.float64 else features.float()
        points = points.detach().to(features.dtype)
        samples, seen = sample_views(features, cameras.to(features.dtype), points)
        mask = seen.mT.to(features.dtype)
        ways = points[:, :, None] - cameras.origins[:, None].to(features.dtype)
        directions = ways / ways.norm(dim=-1, keepdim=True).clamp(min=1e-6) * mask[..., None]
        return ViewsOfPoints(samples.permute(0, 3, 1, 2).contiguous(), directions, mask)
