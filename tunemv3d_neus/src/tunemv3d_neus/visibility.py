"""The aggregator ``visibility`` (after IBRNet): each view is weighed by how well it seems to see a point."""

import torch
from torch import Tensor, nn

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.layers import zero_init
from tunemv3d_core.rendering.precision import full_precision
from tunemv3d_core.rendering.view_features import ViewFeatures, sample_view_features
from tunemv3d_neus.spec import VisibilitySpec


def build(spec: VisibilitySpec, features: int) -> "Visibility":
    """Build the aggregator of ``features`` channels."""
    return Visibility(spec, features)


class Visibility(nn.Module):
    """Weighted mean and variance over the views, and the mean weight: ``2 f + 1`` channels.

    A small network gives each view of a point a weight between 0 and 2, from the view's feature, the direction from
    its camera to the point, and the plain mean and variance: a view whose feature stands out may see something that
    hides the point. A view that does not see the point has weight exactly 0. All weights start at 1, as
    ``mean-variance``.

    Memory: a training step keeps about ``n (6 f + hidden)`` float32 numbers per point, 3.6 kB at 8 views of 16
    features; ``mean-variance`` keeps 0.7 kB, and nothing per view in its fused form (``benchmarks/weighing.py``).
    """

    def __init__(self, spec: VisibilitySpec, features: int) -> None:
        super().__init__()
        self.channels = 2 * features + 1
        self.each = nn.Linear(features + 3, spec.hidden)
        self.all = nn.Linear(2 * features, spec.hidden, bias=False)
        self.weight = zero_init(nn.Linear(spec.hidden, 1))

    def forward(self, features: Tensor, cameras: Cameras, points: Tensor) -> Tensor:
        """Aggregate features ``b n f h w`` of cameras ``b n`` at points ``b p 3`` to ``b p (2 f + 1)``, float32."""
        views = sample_view_features(features, cameras, points.detach())
        weights = self.weights(views)
        with full_precision(features):
            mean, variance = views.moments(weights)
            return torch.cat([mean, variance, weights.mean(2, keepdim=True)], dim=-1)

    def weights(self, views: ViewFeatures) -> Tensor:
        """Return the views' weights ``b p n``, 0 to 2, float32."""
        mean, variance = views.moments(views.visible)
        each = self.each(torch.cat([views.features, views.directions], dim=-1))
        shared = self.all(torch.cat([mean, variance], dim=-1))
        logits: Tensor = self.weight(torch.relu(each + shared[:, :, None])).squeeze(-1)
        return 2 * logits.to(views.visible.dtype).sigmoid() * views.visible
