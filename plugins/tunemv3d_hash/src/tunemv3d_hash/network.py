"""Signed distances and values from a point's entries in the grid, modulated by what the views show there."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tunemv3d_core.layers import zero_init
from tunemv3d_core.rendering.encoding import embed_noise_level
from tunemv3d_core.rendering.precision import full_precision
from tunemv3d_hash.grid import HashGrid, geometric
from tunemv3d_hash.spec import HashSpec

INITIAL_RADIUS = 0.5
"""Radius of the sphere that the surface starts from, world units."""


class HashNetwork(nn.Module):
    """Looks points up in the grid and modulates what it finds by the views' features (FiLM).

    The distance sees no view direction, so the surface looks the same from everywhere. Last layers start at zero: the
    surface is exactly a sphere and all latents are zero (white), whatever the views show. Aggregated features reach
    distance and value through skip connections too (``*_agg``).
    """

    def __init__(self, spec: HashSpec, aggregated: int, values: int) -> None:
        super().__init__()
        self.radius, hidden = spec.radius, spec.hidden
        self.grid = HashGrid(geometric(spec.coarsest, spec.finest, spec.levels), spec.log2_entries, spec.channels)
        self.fc_in = nn.Linear(self.grid.channels, hidden)
        self.film = nn.Linear(aggregated, 2 * hidden)
        self.time = nn.Sequential(nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, 2 * hidden))
        self.fc = nn.Linear(hidden, hidden)
        self.distance = zero_init(nn.Linear(hidden, 1))
        self.distance_agg = zero_init(nn.Linear(aggregated, 1, bias=False))
        self.value_in = nn.Linear(hidden, hidden // 2)
        self.value_direction = nn.Linear(3, hidden // 2, bias=False)
        value_out = nn.Linear(hidden // 2, values)
        # Rendered features start at random: of zero ones an injector that is zero as well would never learn.
        self.value_out = zero_init(value_out) if spec.gives == "latents" else value_out
        self.value_agg = zero_init(nn.Linear(aggregated, values, bias=False))

    def embed(self, t: Tensor) -> Tensor:
        """Embed the noise level ``b`` as what it adds to every point's scale and shift, ``b 1 (2 hidden)``."""
        time: Tensor = self.time(embed_noise_level(t, self.fc.in_features).to(self.fc.weight.dtype))
        return time[:, None]

    def trunk(self, points: Tensor, aggregated: Tensor, time: Tensor) -> Tensor:
        """Map points ``b p 3``, aggregated features ``b p a`` and ``embed``'s ``b 1 (2 hidden)`` to ``b p hidden``."""
        scale, shift = (self.film(aggregated) + time).chunk(2, dim=-1)
        entries: Tensor = self.fc_in(self.grid((points / self.radius + 1) / 2))
        return F.silu(self.fc(F.silu((1 + scale) * entries + shift)))

    def signed_distance(self, points: Tensor, hidden: Tensor, aggregated: Tensor) -> Tensor:
        """Return ``b p``, in the points' precision, of ``b p 3``, the trunk's ``b p hidden`` and ``b p a``."""
        with full_precision(points):
            sphere: Tensor = torch.linalg.vector_norm(points, dim=-1) - INITIAL_RADIUS
            change: Tensor = self.distance(hidden.to(points)) + self.distance_agg(aggregated.to(points))
            return sphere + torch.squeeze(change, -1)

    def values(self, hidden: Tensor, aggregated: Tensor, directions: Tensor) -> Tensor:
        """Return ``b r s v`` of the trunk's ``b r s hidden`` and ``b r s a`` along unit directions ``b r 3``."""
        inner = self.value_in(hidden) + self.value_direction(directions)[:, :, None]
        values: Tensor = self.value_out(F.silu(inner)) + self.value_agg(aggregated)
        return values
