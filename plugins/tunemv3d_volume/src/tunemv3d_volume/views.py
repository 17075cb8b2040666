"""What n views show of points: looked up, summed up for the volume, and blended as IBRNet does."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.rendering.precision import full_precision

NEAREST_DEPTH = 1e-4
"""A camera sees points whose depth exceeds this, world units."""


@dataclass(frozen=True)
class Shown:
    """What each view shows of each point, float32.

    Attributes:
        features: ``b p n f``, zero where a view does not see the point.
        directions: ``b p n 3``, unit vectors from the cameras to the points.
        seen: ``b p n``, 1 where the point lies before the camera and inside its image, else 0.
    """

    features: Tensor
    directions: Tensor
    seen: Tensor

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance over the views that see a point, each ``b p f``; zero where none does."""
        shares = (self.seen / self.seen.sum(-1, keepdim=True).clamp(min=1))[..., None]
        mean = (shares * self.features).sum(2)
        return mean, (shares * (self.features - mean[:, :, None]).square()).sum(2)

    def summary(self) -> Tensor:
        """Mean, variance and the share of views that see a point: ``b p (2 f + 1)``."""
        return torch.cat([*self.moments(), self.seen.mean(-1, keepdim=True)], dim=-1)


def sample_view_features(features: Tensor, cameras: Cameras, points: Tensor) -> Shown:
    """Features ``b n f h w`` of cameras ``b n`` at points ``b p 3``, bilinearly, in float32 under autocast too."""
    b, n = features.shape[:2]
    with full_precision(features):
        cameras, points = cameras.to(torch.float32), points.float()
        pixels, depth = cameras.project(points[:, None])
        seen = (depth > NEAREST_DEPTH) & (pixels >= 0).all(-1) & (pixels <= 1).all(-1)
        # Unseen points are looked up far outside, where everything is zero.
        grid = torch.where(seen[..., None], pixels * 2 - 1, torch.full_like(pixels, 3.0))
        shown = F.grid_sample(features.float().flatten(0, 1), grid.flatten(0, 1)[:, None], align_corners=False)
        ways = points[:, :, None] - cameras.origins[:, None]
        directions = ways / ways.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        return Shown(torch.unflatten(shown[:, :, 0], 0, (b, n)).permute(0, 3, 1, 2), directions, seen.mT.float())


class Blend(nn.Module):
    """Blends what the views show by IBRNet's weights.

    A small network gives each view of a point a logit from its feature, the mean and variance over all, and how its
    direction differs from the ray's; the weights are their softmax over the views that see the point. They start equal.
    """

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.each = nn.Linear(features + 4, hidden)
        self.all = nn.Linear(2 * features, hidden, bias=False)
        self.logit = nn.Linear(hidden, 1, bias=False)
        nn.init.zeros_(self.logit.weight)

    def forward(self, shown: Shown, directions: Tensor) -> Tensor:
        """What is shown of points seen along unit directions ``b p 3``: ``b p f``, zero where no view sees one."""
        weights = self.weights(shown, directions)
        with full_precision(weights):
            return (weights[..., None] * shown.features).sum(2)

    def weights(self, shown: Shown, directions: Tensor) -> Tensor:
        """``b p n``, float32; their sum is 1, or 0 where no view sees the point."""
        with full_precision(directions):
            turned = shown.directions - directions[:, :, None]
            along = (shown.directions * directions[:, :, None]).sum(-1, keepdim=True)
            told = torch.cat([shown.features, turned, along], dim=-1)
            moments = torch.cat(shown.moments(), dim=-1)
        hidden = F.silu(self.each(told) + self.all(moments)[:, :, None])
        logits = self.logit(hidden).squeeze(-1).float()
        hidden_views = torch.where(shown.seen > 0, logits, torch.full_like(logits, -1e9))
        return hidden_views.softmax(-1) * shown.seen
