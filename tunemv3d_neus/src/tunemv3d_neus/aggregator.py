"""The aggregator ``mean-variance`` (paper B.1 follows SparseNeuS), fused into one kernel on a GPU."""

import torch
from torch import Tensor, nn

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.rendering.precision import full_precision
from tunemv3d_core.rendering.view_features import mean_variance
from tunemv3d_neus.kernels.availability import takes_kernels
from tunemv3d_neus.spec import MeanVarianceSpec

FUSED_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
"""Types of feature maps that the fused kernel takes."""


def build(spec: MeanVarianceSpec, features: int) -> "MeanVariance":
    """Build the aggregator of ``features`` channels."""
    return MeanVariance(features)


class MeanVariance(nn.Module):
    """Mean and variance over the views that see a point, and the share of views that do: ``2 f + 1`` channels.

    A view sees a point in front of its camera and inside its image. Points get no gradient: the field's gradient is
    taken by finite differences.
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
        if takes_kernels(features.device):
            from tunemv3d_neus.kernels.mean_variance import LARGEST_FEATURES, fused_mean_variance

            if features.shape[2] <= LARGEST_FEATURES and features.dtype in FUSED_DTYPES:
                return fused_mean_variance(features, cameras, points)
        with full_precision(features):
            return mean_variance(features.float(), cameras, points.detach().float())
