"""Networks from aggregated features to a density along rays, and to the shape of each pixel's Gaussian."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tunemv3d_core.layers import zero_init
from tunemv3d_core.rendering.encoding import embed_noise_level
from tunemv3d_gaussians.spec import GaussiansSpec

INITIAL_RADIUS = 0.5
"""Radius of the soft ball that the object starts as, world units."""

SLOPE, SURFACE_LOGIT = 8.0, -3.0
"""Slope of the density's logit towards the inside, per world unit, and the logit at the ball's surface."""

DENSITY_SCALE = 10.0
"""Density where the softplus is 1, per world unit."""


class DensityHead(nn.Module):
    """Density at points from aggregated features. Starts as a soft ball, whatever the features.

    The features reach the density through a skip connection too: the network need not first learn to pass them on.
    """

    def __init__(self, aggregated: int, hidden: int) -> None:
        super().__init__()
        self.fc_in = nn.Linear(aggregated + 3, hidden)
        self.time = nn.Linear(hidden, hidden)
        self.fc_out = zero_init(nn.Linear(hidden, 1))
        self.skip = zero_init(nn.Linear(aggregated, 1, bias=False))

    def forward(self, points: Tensor, aggregated: Tensor, time: Tensor) -> Tensor:
        """Map points ``b p 3``, features ``b p a`` and embedded t ``b hidden`` to ``b p``, per world unit."""
        hidden = F.silu(self.fc_in(torch.cat([points, aggregated], dim=-1)) + self.time(time)[:, None])
        learned = torch.squeeze(self.fc_out(hidden).float() + self.skip(aggregated).float(), -1)
        inside = INITIAL_RADIUS - torch.linalg.vector_norm(points, dim=-1) + learned
        return DENSITY_SCALE * F.softplus(SURFACE_LOGIT + SLOPE * inside)


class GaussianHead(nn.Module):
    """Maps of each pixel's Gaussian, all zero at the start: values, opacity, depth, scale and rotation.

    Convolutions over each view's own features, the features aggregated along each pixel's ray, and the ray; values and
    opacity have a skip connection from the first two.
    """

    SHAPE = (1, 3, 4)
    """Channels of depth, scales and quaternion."""

    def __init__(self, features: int, aggregated: int, hidden: int, values: int) -> None:
        super().__init__()
        self.values = values
        self.conv_in = nn.Conv2d(features + aggregated + 6, hidden, 3, padding=1)
        self.time = nn.Linear(hidden, hidden)
        self.inner = nn.Conv2d(hidden, hidden, 3, padding=1)
        self.conv_out = zero_init(nn.Conv2d(hidden, values + 1 + sum(self.SHAPE), 1))
        self.skip = zero_init(nn.Conv2d(features + aggregated, values + 1, 1, bias=False))

    def forward(self, inputs: Tensor, rays: Tensor, time: Tensor) -> tuple[Tensor, ...]:
        """Map features ``b n (f + a) h w``, rays ``b n 6 h w`` and embedded t ``b hidden`` to maps in float32.

        Returns:
            values ``b n v h w``; opacity, depth, scales and quaternion, ``b n (1 | 1 | 3 | 4) h w``.
        """
        views = inputs.shape[:2]
        x = self.conv_in(torch.cat([inputs, rays], dim=2).flatten(0, 1))
        x = F.silu(x + self.time(time).repeat_interleave(views[1], dim=0)[:, :, None, None])
        learned = self.conv_out(F.silu(self.inner(x))).float()
        learned = learned + F.pad(self.skip(inputs.flatten(0, 1)).float(), (0, 0, 0, 0, 0, sum(self.SHAPE)))
        return torch.split(torch.unflatten(learned, 0, views), [self.values, 1, *self.SHAPE], dim=2)


class GaussianNetwork(nn.Module):
    """All learned layers but the aggregator's."""

    def __init__(self, spec: GaussiansSpec, features: int, aggregated: int, values: int) -> None:
        super().__init__()
        self.hidden = spec.hidden
        self.time = nn.Sequential(nn.Linear(spec.hidden, spec.hidden), nn.SiLU())
        self.density = DensityHead(aggregated, spec.hidden)
        self.head = GaussianHead(features, aggregated, spec.hidden, values)

    def embed(self, t: Tensor) -> Tensor:
        """Embed the noise level ``b`` as ``b hidden``."""
        time: Tensor = self.time(embed_noise_level(t, self.hidden))
        return time
