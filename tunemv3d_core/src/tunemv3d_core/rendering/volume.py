"""Volume rendering: where to look along a ray, and how signed distances (NeuS) or densities (NeRF) add up."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, pad

NOTHING = 1e-3
"""Opacity below which a ray hit nothing, so that its depth is 0."""

FLOOR = 1e-4
"""Share of the further samples that a section gets which cannot hold a surface."""


@dataclass(frozen=True)
class Composite:
    """What rays see.

    Attributes:
        values: ``... r v``, without a background.
        opacity: ``... r``, 0 to 1.
        depth: ``... r``, 0 where the opacity is below ``NOTHING``.
    """

    values: Tensor
    opacity: Tensor
    depth: Tensor


def section_ends(near: Tensor, far: Tensor, samples: int, jitter: bool) -> Tensor:
    """Depths ``... r s`` that cut each ray from near to far (``... r``) into s - 1 sections.

    Even, or with jitter each moved at random by at most half a section (stratified); ends stay in [near, far].
    """
    steps = torch.arange(samples, device=near.device, dtype=near.dtype)
    if jitter:
        steps = steps + torch.rand(*near.shape, samples, device=near.device, dtype=near.dtype) - 0.5
    fractions = (steps / (samples - 1)).clamp(0, 1)
    return near[..., None] + (far - near)[..., None] * fractions


def surface_depths(
    distances: Tensor, depths: Tensor, lengths: Tensor, sharpness: Tensor, samples: int, jitter: bool
) -> Tensor:
    """Depths ``... r k`` for ``samples`` further samples a ray, dense where a surface may be.

    A distance falls by no more than the way gone, so a section from f_i to f_{i+1} of length l may reach down to
    (f_i + f_{i+1} - l) / 2. The weight that it would have there is its share of the new samples, drawn by inverse
    transform. The weights of the distances themselves (NeRF's rule) would pass over what is thinner than a section:
    ``benchmarks/sharper_field.py`` compares them.

    Args:
        distances: ``... r s``, signed distances at the section ends.
        depths: ``... r s``, ascending.
        lengths: ``... r s-1``, of the sections, world units.
        sharpness: the scalar s of s = exp(10 v).
        samples: k, how many each ray gets.
        jitter: whether each is moved at random within its stratum.
    """
    before, after = distances[..., :-1], distances[..., 1:]
    lowest = torch.minimum((before + after - lengths) / 2, after)
    logs = logsigmoid(sharpness * distances)
    through = (logs[..., 1:] - logs[..., :-1]).clamp(max=0).cumsum(-1)
    possible = -torch.expm1((logsigmoid(sharpness * lowest) - logs[..., :-1]).clamp(max=0))
    shares = pad(through[..., :-1], (1, 0)).exp() * possible + FLOOR
    reached = pad(shares.cumsum(-1), (1, 0))
    reached = reached / reached[..., -1:]
    strata = torch.arange(samples, device=depths.device, dtype=depths.dtype).expand(*depths.shape[:-1], samples)
    drawn = (strata + (torch.rand_like(strata) if jitter else 0.5)) / samples
    section = torch.searchsorted(reached, drawn, right=True).clamp(1, distances.shape[-1] - 1)
    low, high = reached.gather(-1, section - 1), reached.gather(-1, section)
    near, far = depths.gather(-1, section - 1), depths.gather(-1, section)
    return near + (far - near) * ((drawn - low) / (high - low)).clamp(0, 1)


def composite(distances: Tensor, values: Tensor, depths: Tensor, sharpness: Tensor) -> Composite:
    """Add up what rays see, front to back.

    The opacity of a section is NeuS's discrete form, alpha = 1 - sigmoid(s f_{i+1}) / sigmoid(s f_i), not below 0;
    its logarithm is written with logsigmoid because the quotient is NaN inside at large s. Transmittance is the exp
    of a running sum of logarithms, with no product. A section's value is the mean of its ends' values, so the network
    is evaluated at the ends only.

    Args:
        distances: ``... r s``, signed distances at the section ends.
        values: ``... r s v``, at the section ends.
        depths: ``... r s``, ascending, z in the camera.
        sharpness: the scalar s.
    """
    logs = logsigmoid(sharpness * distances)
    passed = (logs[..., 1:] - logs[..., :-1]).clamp(max=0)
    total = passed.cumsum(-1)
    weights = (total - passed).exp() * -torch.expm1(passed)
    opacity = -torch.expm1(total[..., -1])
    # Half of a section's weight goes to each of its ends.
    halves = 0.5 * (pad(weights, (0, 1)) + pad(weights, (1, 0)))
    seen = (halves[..., None, :] @ values).squeeze(-2)
    depth = (halves * depths).sum(-1) / opacity.clamp(min=NOTHING)
    return Composite(seen, opacity, torch.where(opacity > NOTHING, depth, torch.zeros_like(depth)))


def composite_densities(densities: Tensor, values: Tensor, depths: Tensor, lengths: Tensor) -> Composite:
    """Add up what rays see, front to back, by NeRF's quadrature.

    A section of density sigma and length l lets exp(-sigma l) through; transmittance is the exp of a running sum.

    Args:
        densities: ``... r s``, one a world unit, at least 0, each constant over its section.
        values: ``... r s v``, of the sections.
        depths: ``... r s``, of the sections' middles, ascending, z in the camera.
        lengths: ``... r s``, of the sections, world units.
    """
    passed = -densities * lengths
    total = passed.cumsum(-1)
    weights = (total - passed).exp() * -torch.expm1(passed)
    opacity = -torch.expm1(total[..., -1])
    seen = (weights[..., None, :] @ values).squeeze(-2)
    depth = (weights * depths).sum(-1) / opacity.clamp(min=NOTHING)
    return Composite(seen, opacity, torch.where(opacity > NOTHING, depth, torch.zeros_like(depth)))
