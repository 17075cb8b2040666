"""The feature volume: how it is made of what the views show, and how points are read off it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tunemv3d_core.layers import zero_init
from tunemv3d_core.rendering.precision import full_precision
from tunemv3d_volume.spec import VolumeSpec
from tunemv3d_volume.unet import UNet3D

INITIAL_RADIUS = 0.5
"""Radius of the sphere that the surface starts from, world units."""


class VolumeNetwork(nn.Module):
    """Makes the volume and decodes signed distances and values from it.

    A cell holds ``c + 1 + v`` channels: what the U-Net made, and the skip connections from aggregated features to
    distance and values (``*_agg``). Those are linear, as interpolation is, so they are evaluated once at the cells and
    not at every point of every ray.

    Last layers start at zero: the surface is exactly a sphere and all latents are zero (white).
    """

    def __init__(self, spec: VolumeSpec, aggregated: int, values: int) -> None:
        super().__init__()
        self.cells, self.radius = spec.cells, spec.radius
        self.features = spec.channels[0]
        self.unet = UNet3D(aggregated, spec.channels)
        self.distance_agg = zero_init(nn.Linear(aggregated, 1, bias=False))
        self.value_agg = zero_init(nn.Linear(aggregated, values, bias=False))
        self.inner = nn.Linear(self.features, spec.hidden)
        self.distance = zero_init(nn.Linear(spec.hidden, 1))
        value = nn.Linear(spec.hidden, values)
        # Rendered features start at random: of zero ones an injector that is zero as well would never learn.
        self.value = zero_init(value) if spec.gives == "latents" else value

    def forward(self, aggregated: Tensor, t: Tensor) -> Tensor:
        """Make a volume ``b (c + 1 + v) x y z`` of aggregated features at the cells, ``b (x y z) a``, and t ``b``."""
        skip = torch.cat([self.distance_agg(aggregated), self.value_agg(aggregated)], dim=-1)
        grid, skip = (torch.unflatten(z.mT, 2, (self.cells,) * 3) for z in (aggregated, skip))
        return torch.cat([self.unet(grid, t).float(), skip.float()], dim=1)

    def decode(self, volume: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return signed distances ``b p``, float32, and values ``b p v`` at points ``b p 3``."""
        samples = trilinear(volume, points, self.radius)
        features, distance_skip, value_skip = torch.tensor_split(samples, [self.features, self.features + 1], dim=-1)
        hidden = F.silu(self.inner(features))
        with full_precision(points):
            change: Tensor = self.distance(hidden.float()) + distance_skip
            sdf = torch.linalg.vector_norm(points, dim=-1) - INITIAL_RADIUS + torch.squeeze(change, -1)
        return sdf, self.value(hidden) + value_skip


def trilinear(volume: Tensor, points: Tensor, radius: float) -> Tensor:
    """Sample a volume at points, trilinearly, in float32; beyond it the nearest cells count.

    Args:
        volume: ``b c x y z`` that spans [-radius, radius]^3.
        points: ``b p 3``, world units.
        radius: world units.

    Returns:
        ``b p c``.
    """
    with full_precision(points):
        # grid_sample wants the last axis first.
        grid = (points / radius).flip(-1)[:, None, None]
        samples = F.grid_sample(volume.float(), grid, padding_mode="border", align_corners=False)
        return samples[:, :, 0, 0].mT
