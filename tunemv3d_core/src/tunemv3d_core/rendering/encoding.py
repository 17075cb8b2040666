"""Sinusoids of points and of noise levels."""

import math

import torch
from torch import Tensor


def encode_points(points: Tensor, frequencies: int, omega: float) -> Tensor:
    """The encoding gamma of paper Eq. 1.

    Args:
        points: ``... 3``, world units.
        frequencies: M, how many.
        omega: lowest frequency, radians a world unit.

    Returns:
        ``... (6 M)``: for each frequency 2^k omega the sines of x, y, z, then their cosines.
    """
    scales = omega * 2.0 ** torch.arange(frequencies, device=points.device, dtype=points.dtype)
    angles = points[..., None, :] * scales[:, None]
    return torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(-2)


def embed_noise_level(t: Tensor, channels: int) -> Tensor:
    """Sinusoidal embedding of float noise levels, any shape ``...`` to ``... channels`` (an even number), float32.

    Periods run geometrically from 2 pi to 2 pi 10,000 steps, as in the transformer and in DDPM.
    """
    half = channels // 2
    rates = torch.exp(torch.arange(half, device=t.device, dtype=torch.float32) * (-math.log(10_000.0) / half))
    angles = t.float()[..., None] * rates
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
