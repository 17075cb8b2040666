"""Encodings: sinusoids of points and of noise levels, Pluecker coordinates of rays."""

import math

import torch
from torch import Tensor

from tunemv3d_core.cameras import Rays


def encode_points(points: Tensor, frequencies: int, omega: float) -> Tensor:
    """Encode points by gamma of paper Eq. 1.

    Args:
        points: ``... 3``, world units.
        frequencies: M, the number of frequencies.
        omega: lowest frequency, radians per world unit.

    Returns:
        ``... (6 M)``: for each frequency 2^k omega the sines of x, y, z, then their cosines.
    """
    scales = omega * 2.0 ** torch.arange(frequencies, device=points.device, dtype=points.dtype)
    angles = points[..., None, :] * scales[:, None]
    return torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(-2)


def embed_noise_level(t: Tensor, channels: int) -> Tensor:
    """Embed float noise levels ``...`` by sinusoids as ``... channels`` (an even number), float32.

    Periods run geometrically from 2 pi to 2 pi 10,000 steps, as in the transformer and in DDPM.
    """
    half = channels // 2
    rates = torch.exp(torch.arange(half, device=t.device, dtype=torch.float32) * (-math.log(10_000.0) / half))
    angles = t.float()[..., None] * rates
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def plucker_coordinates(rays: Rays, size: tuple[int, int]) -> Tensor:
    """Return direction and moment of the rays ``b n (h w)`` through the cells of (h, w) maps: ``b n 6 h w``."""
    unit = rays.directions / rays.directions.norm(dim=-1, keepdim=True)
    both = torch.cat([unit, torch.linalg.cross(rays.origins, unit)], dim=-1)
    return torch.unflatten(both.mT, -1, size)
