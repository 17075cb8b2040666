"""A grid of densities and colours that is fitted to a few views: no network, nothing learned before."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, mse_loss, softplus

from tunemv3d_core.cameras import Cameras, intersect_sphere
from tunemv3d_core.rendering.rays import RayBundle
from tunemv3d_core.rendering.volume import RayOutputs, composite_density, sample_along_rays

CELLS = 40
"""Along the side of the cube that holds the unit sphere: 0.05 world units each."""

SAMPLES = 48
"""Along a ray through the sphere, two cells apart on average at most."""

SHARPNESS = 20.0
"""Density of a cell, per world unit, for a value of 1: a cell of value 4 lets 2 % through."""

INSIDE, OUTSIDE = 1.0, -4.0
"""Values to begin with within the silhouettes' hull, a haze, and outside of it, next to nothing."""

STEPS, RAYS_PER_STEP, RATE = 60, 2048, 0.2


@dataclass(frozen=True)
class Voxels:
    """A scene on a grid over the cube from -1 to 1.

    Attributes:
        values: ``1 4 z y x``: density before softplus, red, green and blue before the sigmoid.
    """

    values: Tensor

    def render(self, rays: RayBundle) -> RayOutputs:
        """Composite rays ``b k``: colours in [0, 1] without a background, opacity, depth."""
        bounds = sample_along_rays(rays.nears, rays.fars, SAMPLES + 1, jitter=False)
        depths = (bounds[..., 1:] + bounds[..., :-1]) / 2
        points = rays.origins[..., None, :] + depths[..., None] * rays.directions[..., None, :]
        values = grid_sample(self.values, points.reshape(1, 1, 1, -1, 3), padding_mode="border", align_corners=True)
        density, *colours = values[0, :, 0, 0].reshape(4, *depths.shape)
        lengths = bounds.diff(dim=-1) * rays.directions.norm(dim=-1, keepdim=True)
        return composite_density(SHARPNESS * softplus(density), torch.stack(colours, -1).sigmoid(), depths, lengths)


def bundle(cameras: Cameras, size: tuple[int, int]) -> RayBundle:
    """Return the rays of cameras ``n`` through all pixels, ``n (h w)``."""
    rays = cameras.rays(size)
    return RayBundle(rays.origins, rays.directions, *intersect_sphere(rays))


@torch.enable_grad()  # type: ignore[no-untyped-call,untyped-decorator,unused-ignore]
def fit_voxels(images: Tensor, silhouettes: Tensor, cameras: Cameras, seed: int = 0) -> Voxels:
    """Fit a grid to views: squared errors of colours on white and of opacity, by Adam, from the silhouettes' hull on.

    Args:
        images: ``n 3 H W`` in [0, 1].
        silhouettes: ``n H W``, boolean.
        cameras: ``n``.
        seed: of the rays that each step draws.
    """
    colours, covered = images.flatten(2).mT.flatten(0, 1), silhouettes.flatten().float()
    whole = bundle(cameras, (images.shape[-2], images.shape[-1]))
    parts = [getattr(whole, name).flatten(0, 1) for name in ("origins", "directions", "nears", "fars", "valid")]
    met = parts[-1].nonzero()[:, 0]
    values = _hull(silhouettes, cameras).requires_grad_()
    optimizer = torch.optim.Adam([values], lr=RATE, betas=(0.9, 0.95))
    generator = torch.Generator().manual_seed(seed)
    for _ in range(STEPS):
        drawn = met[torch.randint(len(met), (RAYS_PER_STEP,), generator=generator).to(met.device)]
        seen = Voxels(values).render(RayBundle(*(part[drawn] for part in parts)))
        on_white = seen.values + (1 - seen.opacity)[:, None]
        loss = mse_loss(on_white, colours[drawn]) + mse_loss(seen.opacity, covered[drawn])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return Voxels(values.detach())


def _hull(silhouettes: Tensor, cameras: Cameras) -> Tensor:
    """Values ``1 4 z y x`` to begin with: grey, and a haze where all views show the object."""
    axis = torch.linspace(-1, 1, CELLS + 1, device=silhouettes.device)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    points = torch.stack([x, y, z], dim=-1).reshape(1, -1, 3)
    pixels, _ = cameras.project(points)
    shown = grid_sample(silhouettes[:, None].float(), pixels[:, None] * 2 - 1, align_corners=False)[:, 0, 0] > 0.25
    inside = (shown.all(0) & (points[0].norm(dim=-1) < 1)).float()
    density = OUTSIDE + (INSIDE - OUTSIDE) * inside
    return torch.cat([density[None], density.new_zeros(3, len(density))]).reshape(1, 4, *z.shape)
