"""Volume rendering: sampling along rays, and compositing of signed distances (NeuS) or densities (NeRF)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, pad

MIN_OPACITY = 1e-3
"""Opacity below which a ray hit nothing, so that its depth is 0."""

PDF_FLOOR = 1e-4
"""Density of the importance samples in an interval that cannot hold a surface."""


@dataclass(frozen=True)
class RayOutputs:
    """Composited rays.

    Attributes:
        values: ``... r v``, without a background.
        opacity: ``... r``, 0 to 1.
        depth: ``... r``, expected z, world units; 0 where the opacity is below ``MIN_OPACITY``.
    """

    values: Tensor
    opacity: Tensor
    depth: Tensor


def sample_along_rays(nears: Tensor, fars: Tensor, samples: int, jitter: bool | Tensor) -> Tensor:
    """Sample depths ``... r s`` evenly from near to far (``... r``); they bound s - 1 intervals.

    With ``jitter`` each is moved at random by at most half an interval (stratified); all stay in [near, far]. A tensor
    ``... r s`` gives the random numbers, 0 to 1.
    """
    steps = torch.arange(samples, device=nears.device, dtype=nears.dtype)
    if isinstance(jitter, Tensor):
        steps = steps + jitter - 0.5
    elif jitter:
        steps = steps + torch.rand(*nears.shape, samples, device=nears.device, dtype=nears.dtype) - 0.5
    fractions = (steps / (samples - 1)).clamp(0, 1)
    return nears[..., None] + (fars - nears)[..., None] * fractions


def importance_sample(
    sdf: Tensor, depths: Tensor, deltas: Tensor, inv_s: Tensor, samples: int, jitter: bool | Tensor
) -> Tensor:
    """Sample further depths ``... r k`` per ray, dense where a surface may be.

    A signed distance is 1-Lipschitz: within an interval of length l it can drop to at most
    ``(f_i + f_{i+1} - l) / 2``. The weight that an interval would have at this bound is its probability, and depths are
    drawn by inverse transform. Weights of the samples themselves (NeRF, NeuS) miss what is thinner than an interval:
    ``benchmarks/sharper_field.py`` compares them.

    Args:
        sdf: ``... r s``, signed distances at the depths.
        depths: ``... r s``, ascending.
        deltas: ``... r s-1``, lengths of the intervals, world units.
        inv_s: scalar, NeuS's s.
        samples: k, per ray.
        jitter: whether each is moved at random within its stratum; or the random numbers, ``... r k``, 0 to 1.
    """
    before, after = sdf[..., :-1], sdf[..., 1:]
    lowest = torch.minimum((before + after - deltas) / 2, after)
    logs = logsigmoid(inv_s * sdf)
    log_transmittance = (logs[..., 1:] - logs[..., :-1]).clamp(max=0).cumsum(-1)
    alpha = -torch.expm1((logsigmoid(inv_s * lowest) - logs[..., :-1]).clamp(max=0))
    pdf = pad(log_transmittance[..., :-1], (1, 0)).exp() * alpha + PDF_FLOOR
    cdf = pad(pdf.cumsum(-1), (1, 0))
    cdf = cdf / cdf[..., -1:]
    strata = torch.arange(samples, device=depths.device, dtype=depths.dtype).expand(*depths.shape[:-1], samples)
    if not isinstance(jitter, Tensor):
        jitter = torch.rand_like(strata) if jitter else torch.full_like(strata, 0.5)
    u = (strata + jitter) / samples
    above = torch.searchsorted(cdf, u, right=True).clamp(1, sdf.shape[-1] - 1)
    cdf_below, cdf_above = cdf.gather(-1, above - 1), cdf.gather(-1, above)
    near, far = depths.gather(-1, above - 1), depths.gather(-1, above)
    return near + (far - near) * ((u - cdf_below) / (cdf_above - cdf_below)).clamp(0, 1)


def composite_sdf(sdf: Tensor, values: Tensor, depths: Tensor, inv_s: Tensor) -> RayOutputs:
    """Composite signed distances front to back (NeuS, arXiv:2106.10689, Eq. 13).

    An interval's alpha is NeuS's discrete form, ``1 - sigmoid(s f_{i+1}) / sigmoid(s f_i)``, not below 0; its logarithm
    is written with logsigmoid because the quotient is NaN inside at large s. Transmittance is the exp of a running sum
    of logarithms, with no product. An interval's value is the mean of its endpoints' values, so the network is
    evaluated at the endpoints only.

    Args:
        sdf: ``... r s``, signed distances at the depths.
        values: ``... r s v``, at the depths.
        depths: ``... r s``, ascending, z in the camera.
        inv_s: scalar, NeuS's s.
    """
    logs = logsigmoid(inv_s * sdf)
    log_step = (logs[..., 1:] - logs[..., :-1]).clamp(max=0)
    weights, opacity = _weights(log_step)
    # Half of an interval's weight goes to each of its endpoints.
    endpoint_weights = 0.5 * (pad(weights, (0, 1)) + pad(weights, (1, 0)))
    return _composited(endpoint_weights, opacity, values, depths)


def composite_density(densities: Tensor, values: Tensor, depths: Tensor, deltas: Tensor) -> RayOutputs:
    """Composite densities front to back by NeRF's quadrature (arXiv:2003.08934, Eq. 3).

    An interval of density sigma and length l transmits exp(-sigma l); transmittance is the exp of a running sum.

    Args:
        densities: ``... r s``, per world unit, at least 0, each constant over its interval.
        values: ``... r s v``, of the intervals.
        depths: ``... r s``, midpoints of the intervals, ascending, z in the camera.
        deltas: ``... r s``, lengths of the intervals, world units.
    """
    weights, opacity = _weights(-densities * deltas)
    return _composited(weights, opacity, values, depths)


def _weights(log_step: Tensor) -> tuple[Tensor, Tensor]:
    """Weights ``... r s`` and opacity ``... r`` from log transmittances ``... r s`` of single intervals."""
    log_transmittance = log_step.cumsum(-1)
    weights = (log_transmittance - log_step).exp() * -torch.expm1(log_step)
    return weights, -torch.expm1(log_transmittance[..., -1])


def _composited(weights: Tensor, opacity: Tensor, values: Tensor, depths: Tensor) -> RayOutputs:
    depth = (weights * depths).sum(-1) / opacity.clamp(min=MIN_OPACITY)
    depth = torch.where(opacity > MIN_OPACITY, depth, torch.zeros_like(depth))
    return RayOutputs((weights[..., None, :] @ values).squeeze(-2), opacity, depth)
