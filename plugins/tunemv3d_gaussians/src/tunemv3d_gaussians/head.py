"""From what the views show to the shape of each pixel's Gaussian."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tunemv3d_core.rendering.encoding import embed_noise_level
from tunemv3d_gaussians.spec import GaussiansSpec

BALL = 0.5
"""Radius of the soft ball that the object starts as, world units."""

SLOPE, START = 8.0, -3.0
"""Of the density's logit towards the inside, one a world unit, and at the ball's surface."""

DENSITY = 10.0
"""Density of a softplus of 1, one a world unit."""


class Density(nn.Module):
    """How dense the object is at points that the views were asked of. Starts as a soft ball, whatever they say.

    Their answer reaches the density by a straight road too: the network need not first learn to pass it on.
    """

    def __init__(self, seen: int, hidden: int) -> None:
        super().__init__()
        self.fc_in = nn.Linear(seen + 3, hidden)
        self.time = nn.Linear(hidden, hidden)
        self.fc_out = zeroed(nn.Linear(hidden, 1))
        self.skip = zeroed(nn.Linear(seen, 1, bias=False))

    def forward(self, points: Tensor, seen: Tensor, time: Tensor) -> Tensor:
        """Points ``b p 3``, answers ``b p a`` and the embedded t ``b hidden`` to ``b p``, one a world unit."""
        hidden = F.silu(self.fc_in(torch.cat([points, seen], dim=-1)) + self.time(time)[:, None])
        learned = torch.squeeze(self.fc_out(hidden).float() + self.skip(seen).float(), -1)
        inside = BALL - torch.linalg.vector_norm(points, dim=-1) + learned
        return DENSITY * F.softplus(START + SLOPE * inside)


class Head(nn.Module):
    """Maps of what shapes each pixel's Gaussian, all zero at the start: values, opacity, depth, scale and rotation.

    Convolutions over each view's own features, what all views said along each pixel's ray, and the ray; values and
    opacity have a straight road from the first two.
    """

    SHAPE = (1, 3, 4)
    """Channels of depth, scales and quaternion."""

    def __init__(self, features: int, seen: int, hidden: int, values: int) -> None:
        super().__init__()
        self.values = values
        self.conv_in = nn.Conv2d(features + seen + 6, hidden, 3, padding=1)
        self.time = nn.Linear(hidden, hidden)
        self.inner = nn.Conv2d(hidden, hidden, 3, padding=1)
        self.conv_out = zeroed(nn.Conv2d(hidden, values + 1 + sum(self.SHAPE), 1))
        self.skip = zeroed(nn.Conv2d(features + seen, values + 1, 1, bias=False))

    def forward(self, told: Tensor, rays: Tensor, time: Tensor) -> tuple[Tensor, ...]:
        """Told ``b n (f + a) h w``, rays ``b n 6 h w`` and the embedded t ``b hidden`` to maps in float32.

        Returns:
            values ``b n v h w``; opacity, depth, scales and quaternion, ``b n (1 | 1 | 3 | 4) h w``.
        """
        views = told.shape[:2]
        x = self.conv_in(torch.cat([told, rays], dim=2).flatten(0, 1))
        x = F.silu(x + self.time(time).repeat_interleave(views[1], dim=0)[:, :, None, None])
        learned = self.conv_out(F.silu(self.inner(x))).float()
        learned = learned + F.pad(self.skip(told.flatten(0, 1)).float(), (0, 0, 0, 0, 0, sum(self.SHAPE)))
        return torch.split(torch.unflatten(learned, 0, views), [self.values, 1, *self.SHAPE], dim=2)


class GaussianNetwork(nn.Module):
    """Everything that is learned."""

    def __init__(self, spec: GaussiansSpec, features: int, values: int) -> None:
        super().__init__()
        seen, self.hidden = 2 * features + 1, spec.hidden
        self.time = nn.Sequential(nn.Linear(spec.hidden, spec.hidden), nn.SiLU())
        self.density = Density(seen, spec.hidden)
        self.head = Head(features, seen, spec.hidden, values)

    def embed(self, t: Tensor) -> Tensor:
        """The noise level ``b`` as ``b hidden``."""
        time: Tensor = self.time(embed_noise_level(t, self.hidden))
        return time


def zeroed(layer: nn.Module) -> nn.Module:
    """A layer that gives zeros until its first update."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
