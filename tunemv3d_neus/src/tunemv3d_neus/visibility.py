"""The aggregator ``visibility`` (after IBRNet): views are weighed by how well they seem to see a point."""

import torch
from torch import Tensor, nn

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.rendering.precision import full_precision
from tunemv3d_neus.aggregator import ViewsOfPoints, sample_view_features
from tunemv3d_neus.spec import VisibilitySpec


def build(spec: VisibilitySpec, features: int) -> "Visibility":
    """Build the aggregator of ``features`` channels."""
    return Visibility(spec, features)


class Visibility(nn.Module):
    """Weighted mean and variance over the views, and the mean weight: ``2 f + 1`` channels.

    A small network gives each view of a point a weight between 0 and 2, from the view's feature, the direction from
    which it looks, and the plain mean and variance: a view whose feature stands out may see something that hides the
    point. A view that does not see the point has weight exactly 0. All weights start at 1, as ``mean-variance``.

    Memory: a training step keeps about ``n (6 f + hidden)`` float32 numbers a point, 3.6 kB at 8 views of 16
    features; ``mean-variance`` keeps 0.7 kB, and nothing a view in its fused form. ``benchmarks/weighing.py`` measures.
    """

    def __init__(self, spec: VisibilitySpec, features: int) -> None:
        super().__init__()
        self.channels = 2 * features + 1
        self.each = nn.Linear(features + 3, spec.hidden)
        self.all = nn.Linear(2 * features, spec.hidden, bias=False)
        self.weight = nn.Linear(spec.hidden, 1)
        nn.init.zeros_(self.weight.weight)
        nn.init.zeros_(self.weight.bias)

    def forward(self, features: Tensor, cameras: Cameras, points: Tensor) -> Tensor:
        """Features ``b n f h w``, cameras ``b n`` and points ``b p 3`` to ``b p (2 f + 1)``, float32."""
        views = sample_view_features(features, cameras, points)
        weights = self.weights(views)
        with full_precision(features):
            mean, variance = views.moments(weights)
            return torch.cat([mean, variance, weights.mean(2, keepdim=True)], dim=-1)

    def weights(self, views: ViewsOfPoints) -> Tensor:
        """``b p n``, 0 to 2, float32."""
        mean, variance = views.moments(views.seen)
        told = self.each(torch.cat([views.features, views.directions], dim=-1))
        shared = self.all(torch.cat([mean, variance], dim=-1))
        logits: Tensor = self.weight(torch.relu(told + shared[:, :, None])).squeeze(-1)
        return 2 * logits.to(views.seen.dtype).sigmoid() * views.seen
