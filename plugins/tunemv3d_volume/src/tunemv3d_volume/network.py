"""The feature volume: how it is made of what the views show, and how points are read off it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tunemv3d_core.rendering.precision import full_precision
from tunemv3d_volume.spec import VolumeSpec
from tunemv3d_volume.unet import UNet3D

SPHERE = 0.5
"""Radius of the sphere that the surface starts from, world units."""


class VolumeNetwork(nn.Module):
    """Makes the volume and reads signed distances and values off it.

    A point's features ``c + 1 + v``: what the U-Net made, and what the views say by straight roads (``*_agg``). Those
    are linear, as interpolation is, so they are gone at the cells, once, and not at every point of every ray.

    Last layers start at zero: the surface is exactly a sphere and all latents are zero (white).
    """

    def __init__(self, spec: VolumeSpec, summary: int, values: int) -> None:
        super().__init__()
        self.cells, self.radius = spec.cells, spec.radius
        self.features = spec.channels[0]
        self.unet = UNet3D(summary, spec.channels)
        self.distance_agg = _zeroed(nn.Linear(summary, 1, bias=False))
        self.value_agg = _zeroed(nn.Linear(summary, values, bias=False))
        self.inner = nn.Linear(self.features, spec.hidden)
        self.distance = _zeroed(nn.Linear(spec.hidden, 1))
        value = nn.Linear(spec.hidden, values)
        # Rendered features start at random: of zero ones an injector that is zero as well would never learn.
        self.value = _zeroed(value) if spec.gives == "latents" else value

    def grid(self, device: torch.device) -> Tensor:
        """The centres of the cells of the cube [-radius, radius]^3, ``(x y z) 3``, world units."""
        centres = ((torch.arange(self.cells, device=device) + 0.5) / self.cells * 2 - 1) * self.radius
        return torch.stack(torch.meshgrid(centres, centres, centres, indexing="ij"), dim=-1).flatten(0, 2)

    def make(self, summary: Tensor, t: Tensor) -> Tensor:
        """What the views say at the grid, ``b (x y z) a``, and t ``b`` to a volume ``b (c + 1 + v) x y z``."""
        roads = torch.cat([self.distance_agg(summary), self.value_agg(summary)], dim=-1)
        first, roads = (torch.unflatten(z.mT, 2, (self.cells,) * 3) for z in (summary, roads))
        return torch.cat([self.unet(first, t).float(), roads.float()], dim=1)

    def read_off(self, volume: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Points ``b p 3`` to signed distances ``b p``, float32, and values ``b p v``."""
        seen = trilinear(volume, points, self.radius)
        features, distance, values = torch.tensor_split(seen, [self.features, self.features + 1], dim=-1)
        hidden = F.silu(self.inner(features))
        with full_precision(points):
            change: Tensor = self.distance(hidden.float()) + distance
            distances = torch.linalg.vector_norm(points, dim=-1) - SPHERE + torch.squeeze(change, -1)
        return distances, self.value(hidden) + values


def trilinear(volume: Tensor, points: Tensor, radius: float) -> Tensor:
    """Look points up in a volume, in float32; beyond it the nearest cells count.

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
        seen = F.grid_sample(volume.float(), grid, padding_mode="border", align_corners=False)
        return seen[:, :, 0, 0].mT


def _zeroed(layer: nn.Linear) -> nn.Linear:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
