"""The aggregator ``attention``: attention over the views that see a point corrects the mean of their features."""

import torch
from torch import Tensor, nn

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.layers import zero_init
from tunemv3d_core.rendering.precision import full_precision
from tunemv3d_core.rendering.view_features import sample_view_features
from tunemv3d_neus.spec import AttentionSpec


def build(spec: AttentionSpec, features: int) -> "Attention":
    """Build the aggregator of ``features`` channels."""
    return Attention(spec, features)


class Attention(nn.Module):
    """The mean corrected by multi-head attention over the views, the variance, and the share of views: ``2 f + 1``.

    One query per point, made from the mean and variance, attends to the views that see it; keys and values come from
    each view's feature and the direction from its camera to the point. The attended value is added to the mean
    through a layer that starts at zero, so that it starts as ``mean-variance``.

    Memory: a training step keeps about ``n (4 f + 2 heads head_channels)`` float32 numbers per point, 4.0 kB at 8 views
    of 16 features; ``mean-variance`` keeps 0.7 kB, and nothing per view in its fused form. ``benchmarks/weighing.py``
    measures.
    """

    def __init__(self, spec: AttentionSpec, features: int) -> None:
        super().__init__()
        self.channels = 2 * features + 1
        self.heads = spec.heads
        width = spec.heads * spec.head_channels
        self.query = nn.Linear(2 * features, width)
        self.key = nn.Linear(features + 3, width, bias=False)
        self.value = nn.Linear(features + 3, width)
        self.fc_out = zero_init(nn.Linear(width, features, bias=False))

    def forward(self, features: Tensor, cameras: Cameras, points: Tensor) -> Tensor:
        """Aggregate features ``b n f h w`` of cameras ``b n`` at points ``b p 3`` to ``b p (2 f + 1)``, float32."""
        views = sample_view_features(features, cameras, points.detach())
        mean, variance = views.moments(views.visible)
        inputs = torch.cat([views.features, views.directions], dim=-1)
        query = self.query(torch.cat([mean, variance], dim=-1)).unflatten(-1, (self.heads, -1))
        key, value = (layer(inputs).unflatten(-1, (self.heads, -1)) for layer in (self.key, self.value))
        # Products and sums of 8 views are faster than as many tiny matrix products.
        scores = (query[:, :, None] * key).sum(-1).to(mean.dtype) * query.shape[-1] ** -0.5
        weights = masked_softmax(scores, views.visible[..., None])
        heads = (weights[..., None].to(value.dtype) * value).sum(2)
        corrected = mean + self.fc_out(heads.flatten(-2)).to(mean.dtype)
        with full_precision(features):
            return torch.cat([corrected, variance, views.visible.mean(2, keepdim=True)], dim=-1)


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over views ``b p n heads`` where a mask ``b p n 1`` is 1; zero elsewhere, and where it is 0 for all."""
    lowest = torch.finfo(scores.dtype).min
    return torch.softmax(scores.masked_fill(mask == 0, lowest), dim=2) * mask
