"""Densities and values from points, aggregated features and the noise level."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tunemv3d_core.layers import zero_init
from tunemv3d_core.rendering.encoding import embed_noise_level, encode_points
from tunemv3d_core.rendering.precision import full_precision
from tunemv3d_density.spec import DensitySpec

INITIAL_RADIUS = 0.5
"""Radius of the ball that density starts from, world units."""


class DensityNetwork(nn.Module):
    """Densities and values at points.

    The density sees no view direction. Last layers start at zero: at first there is a ball of the latent zero (white),
    whatever the features and t. Aggregated features reach density and value through skip connections too (``*_agg``).
    """

    def __init__(self, spec: DensitySpec, aggregated: int, values: int) -> None:
        super().__init__()
        self.frequencies, self.omega, self.slope = spec.frequencies, spec.omega, spec.slope
        hidden = spec.hidden
        self.time = nn.Sequential(nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, spec.blocks * hidden))
        self.fc_in = nn.Linear(3 + 6 * spec.frequencies, hidden)
        self.blocks = nn.ModuleList(ResnetBlock(aggregated, hidden) for _ in range(spec.blocks))
        self.density = zero_init(nn.Linear(hidden, 1))
        self.density_agg = zero_init(nn.Linear(aggregated, 1, bias=False))
        self.value_in = nn.Linear(hidden, hidden // 2)
        self.value_direction = nn.Linear(3, hidden // 2, bias=False)
        value_out = nn.Linear(hidden // 2, values)
        # Rendered features start at random: of zero ones an injector that is zero as well would never learn.
        self.value_out = zero_init(value_out) if spec.gives == "latents" else value_out
        self.value_agg = zero_init(nn.Linear(aggregated, values, bias=False))

    def embed(self, t: Tensor) -> Tensor:
        """Embed the noise level ``b`` as ``b k hidden``, which is added inside each block."""
        width = self.fc_in.out_features
        time: Tensor = self.time(embed_noise_level(t, width))
        return torch.unflatten(time, -1, (-1, width))

    def trunk(self, points: Tensor, aggregated: Tensor, time: Tensor) -> Tensor:
        """Map points ``b p 3``, aggregated features ``b p a`` and ``embed``'s ``b k hidden`` to ``b p hidden``."""
        with full_precision(points):
            encoded = torch.cat([points, encode_points(points, self.frequencies, self.omega)], dim=-1)
        x: Tensor = self.fc_in(encoded)
        for block, shift in zip(self.blocks, time.unbind(1), strict=True):
            x = block(x, aggregated, shift[:, None])
        return F.relu(x)

    def density_at(self, points: Tensor, hidden: Tensor, aggregated: Tensor) -> Tensor:
        """Return ``b p``, float32, per world unit, of ``b p 3``, the trunk's ``b p hidden`` and ``b p a``."""
        with full_precision(points):
            ball = INITIAL_RADIUS - torch.linalg.vector_norm(points, dim=-1)
            change: Tensor = self.density(hidden.float()) + self.density_agg(aggregated.float())
            return self.slope * F.softplus(self.slope * (ball + torch.squeeze(change, -1)))

    def values(self, hidden: Tensor, aggregated: Tensor, directions: Tensor) -> Tensor:
        """Return ``b r s v`` of the trunk's ``b r s hidden`` and ``b r s a`` along unit directions ``b r 3``."""
        inner = self.value_in(hidden) + self.value_direction(directions)[:, :, None]
        values: Tensor = self.value_out(F.relu(inner)) + self.value_agg(aggregated)
        return values


class ResnetBlock(nn.Module):
    """A residual block that is given the aggregated features anew; its last layer starts at zero."""

    def __init__(self, aggregated: int, hidden: int) -> None:
        super().__init__()
        self.agg = nn.Linear(aggregated, hidden)
        self.fc0 = nn.Linear(hidden, hidden)
        self.fc1 = zero_init(nn.Linear(hidden, hidden))
        nn.init.kaiming_normal_(self.fc0.weight)

    def forward(self, x: Tensor, aggregated: Tensor, time: Tensor) -> Tensor:
        """Map ``b p hidden``, ``b p a`` and ``b 1 hidden`` to ``b p hidden``."""
        x = x + self.agg(aggregated)
        added: Tensor = self.fc1(F.relu(self.fc0(F.relu(x)) + time))
        return x + added
