"""Blending of the views' features at points, as IBRNet does."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tunemv3d_core.layers import zero_init
from tunemv3d_core.rendering.precision import full_precision
from tunemv3d_core.rendering.view_features import ViewFeatures


class ViewBlend(nn.Module):
    """Blends the views' features by IBRNet's weights.

    A small network gives each view of a point a logit from its feature, the mean and variance over all, and how its
    direction differs from the ray's; the weights are their softmax over the views that see the point. They start equal.
    """

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.each = nn.Linear(features + 4, hidden)
        self.all = nn.Linear(2 * features, hidden, bias=False)
        self.logit = zero_init(nn.Linear(hidden, 1, bias=False))

    def forward(self, views: ViewFeatures, directions: Tensor) -> Tensor:
        """Blend features of points on rays of unit directions ``b p 3`` to ``b p f``; zero where no view sees one."""
        weights = self.weights(views, directions)
        with full_precision(weights):
            return (weights[..., None] * views.features).sum(2)

    def weights(self, views: ViewFeatures, directions: Tensor) -> Tensor:
        """Return weights ``b p n``, float32; their sum is 1, or 0 where no view sees the point."""
        with full_precision(directions):
            difference = views.directions - directions[:, :, None]
            cosine = (views.directions * directions[:, :, None]).sum(-1, keepdim=True)
            inputs = torch.cat([views.features, difference, cosine], dim=-1)
            moments = torch.cat(views.moments(views.visible), dim=-1)
        hidden = F.silu(self.each(inputs) + self.all(moments)[:, :, None])
        logits = self.logit(hidden).squeeze(-1).float()
        masked = torch.where(views.visible > 0, logits, torch.full_like(logits, -1e9))
        return masked.softmax(-1) * views.visible
