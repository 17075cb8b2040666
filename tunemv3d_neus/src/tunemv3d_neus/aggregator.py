"""The aggregator ``mean-variance`` (paper B.1 follows SparseNeuS): what all views that see a point say of it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tunemv3d_core.cameras import Cameras
from tunemv3d_neus.kernels import HAVE_TRITON
from tunemv3d_neus.precision import full_precision
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
