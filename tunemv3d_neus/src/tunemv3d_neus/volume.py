"""Volume rendering of a signed distance: where to look along a ray, and how what is seen adds up (NeuS)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

NOTHING = 1e-3
"""Opacity below which a ray hit nothing, so that its depth is 0."""


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
    halves = 0.5 * (torch.nn.functional.pad(weights, (0, 1)) + torch.nn.functional.pad(weights, (1, 0)))
    seen = (halves[..., None, :] @ values).squeeze(-2)
    depth = (halves * depths).sum(-1) / opacity.clamp(min=NOTHING)
    return Composite(seen, opacity, torch.where(opacity > NOTHING, depth, torch.zeros_like(depth)))
