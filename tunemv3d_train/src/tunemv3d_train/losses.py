"""The training losses (paper Eq. 3), each a ``Loss`` as third parties write them: one number per view.

All are float32, or the inputs' float64.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from tunemv3d_core.errors import SpecError
from tunemv3d_core.slots import Prediction, Targets

Weighting = Literal["uniform", "v", "min-snr"]
Target = Literal["backbone", "x_prev"]

V_CLIP = 50.0
"""Largest weight of an epsilon error under the weighting "v"."""

MIN_SNR_GAMMA = 5.0
"""gamma of Hang et al., Efficient Diffusion Training via Min-SNR Weighting Strategy, 2023."""


LEVELS = 5
"""Equal ranges of t by which losses are reported: what modulation gains, it gains at high t, where errors are tiny."""


def denoise(prediction: Prediction, targets: Targets) -> Tensor:
    """Mean squared error of each input view, ``b n``, in the backbone's prediction type. See ``weighed``."""
    return squared_error(prediction.modulated, targets.prediction)


def weighed(errors: Tensor, weight: Tensor, is_clean: Tensor) -> Tensor:
    """L_denoise (paper B.3), ``1/(b n) sum_i w_i error_i`` over the views that are not clean.

    Args:
        errors: ``b n``, of each view.
        weight: ``b n``.
        is_clean: ``b n`` boolean. Clean views leave the sum, while the denominator stays b n.
    """
    return (errors * weight * ~is_clean).mean()


def neus(prediction: Prediction, targets: Targets) -> Tensor:
    """Mean absolute error of each rendered view, ``b (n + m)``. Its mean is L_neus (paper B.1)."""
    assert prediction.x0 is not None
    errors = absolute_error(prediction.x0, targets.latents)
    if prediction.novel_x0 is None or targets.novel_latents is None:
        return errors
    return torch.cat([errors, absolute_error(prediction.novel_x0, targets.novel_latents)], dim=1)


def mask(prediction: Prediction, targets: Targets) -> Tensor:
    """Binary cross-entropy of each view's rendered opacity against its picture's alpha, ``b (n + m)``.

    Not in the paper: under L_neus alone a white fog around the object costs nothing on a white background.
    """
    assert prediction.rendering is not None
    errors = cross_entropy(prediction.rendering.opacity, targets.alpha)
    if prediction.novel is None or targets.novel_alpha is None:
        return errors
    return torch.cat([errors, cross_entropy(prediction.novel.opacity, targets.novel_alpha)], dim=1)


def squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of every view (``b n c h w``), ``b n``."""
    return (_at_least_float32(prediction) - _at_least_float32(target)).square().mean(dim=(-3, -2, -1))


def absolute_error(rendered: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of every view (``b n c h w`` or ``b n c r``), ``b n``."""
    return (_at_least_float32(rendered) - _at_least_float32(target)).abs().flatten(2).mean(dim=2)


def cross_entropy(opacity: Tensor, alpha: Tensor) -> Tensor:
    """Mean binary cross-entropy of every view (``b n h w`` or ``b n r``), ``b n``.

    Opacities nearer to 0 or 1 than 1e-4 count as 1e-4 away.
    """
    opacity = _at_least_float32(opacity).clamp(1e-4, 1 - 1e-4)
    return -(alpha * opacity.log() + (1 - alpha) * (1 - opacity).log()).flatten(2).mean(dim=2)


def by_level(errors: Tensor, counted: Tensor, t: Tensor, timesteps: int) -> Tensor:
    """Sum and count the views' errors in ``LEVELS`` equal ranges of t, ``2 LEVELS``.

    Args:
        errors: ``b n``, of each view.
        counted: ``b n`` boolean.
        t: ``b n``.
        timesteps: length of the noise schedule.
    """
    level = (t * (LEVELS / timesteps)).long().clamp(max=LEVELS - 1)
    within = (level[..., None] == torch.arange(LEVELS, device=t.device)) & counted[..., None]
    return torch.stack([(errors.detach()[..., None] * within).sum((0, 1)), within.to(errors.dtype).sum((0, 1))])


def level_name(level: int, timesteps: int) -> str:
    """The range of t of a level, such as ``t=200-400``."""
    return f"t={level * timesteps // LEVELS}-{(level + 1) * timesteps // LEVELS}"


def weigher(
    prediction: str, target: Target, weighting: Weighting, alphas_cumprod: Callable[[Tensor], Tensor]
) -> Callable[[Tensor], Tensor]:
    """Return the function of t (``b n``) that gives L_denoise's weight of every view.

    Weights are stated for the epsilon error and converted to the error of the backbone's own prediction type.

    Args:
        prediction: the backbone's prediction type.
        target: "x_prev" gives the letter of B.3.
        weighting: ignored for "x_prev", which is a weighting itself.
        alphas_cumprod: the schedule.

    Raises:
        SpecError: a weighting that has no meaning for this prediction type.
    """
    # An error of v is weighed by v as it is; by way of epsilon, the clip would take its weight at high t.
    if target == "backbone" and (weighting == "uniform" or (weighting, prediction) == ("v", "v_prediction")):
        return torch.ones_like
    if prediction not in _EPSILON_PER_OWN:
        raise SpecError(
            f"loss: a backbone that predicts '{prediction}' has no epsilon error to weigh; "
            "use target 'backbone' with weighting 'uniform'"
        )

    def weigh(t: Tensor) -> Tensor:
        alpha_bar = alphas_cumprod(t)
        if target == "x_prev":
            weight = x_prev_weight(alpha_bar, torch.where(t < 1, 1.0, alphas_cumprod((t - 1).clamp(min=0))))
        else:
            weight = {"v": v_weight, "min-snr": min_snr_weight}[weighting](alpha_bar)
        return weight * _EPSILON_PER_OWN[prediction](alpha_bar)

    return weigh


def eps_factor(weigh: Callable[[Tensor], Tensor], timesteps: int, device: torch.device | None = None) -> float:
    """Factor on AdamW's eps under weights of the loss: their mean over t, at most 1.

    AdamW's steps do not depend on the loss's scale as long as eps is small beside the gradients; the weights of
    "x_prev" are about 1e-4 for Stable Diffusion, and with them gradients come near to the usual 1e-8.

    Args:
        weigh: of ``weigher``.
        timesteps: length of the noise schedule.
        device: of the schedule.
    """
    return min(1.0, float(weigh(torch.arange(float(timesteps), device=device)[None]).mean()))


def x_prev_weight(alpha_bar: Tensor, alpha_bar_before: Tensor) -> Tensor:
    """Weight of a squared epsilon error in ``||x_{t-1} - x~_{t-1}||^2`` (B.3): ``beta^2 / (alpha (1 - alphabar))``.

    With ``x_{t-1} = (x_t - beta / sqrt(1 - alphabar) eps) / sqrt(alpha)``, ``alpha = alphabar_t / alphabar_{t-1}``
    and ``beta = 1 - alpha``.
    """
    alpha = alpha_bar / alpha_bar_before
    return (1 - alpha).square() / (alpha * (1 - alpha_bar))


def v_weight(alpha_bar: Tensor) -> Tensor:
    """Weight of an epsilon error in units of v: ``1 / alphabar``, clipped at ``V_CLIP``."""
    return (1 / alpha_bar).clamp(max=V_CLIP)


def min_snr_weight(alpha_bar: Tensor) -> Tensor:
    """``min(SNR, gamma) / SNR`` for an epsilon error, with ``SNR = alphabar / (1 - alphabar)``."""
    # In this form also where nothing of the signal is left and SNR is 0.
    return (MIN_SNR_GAMMA * (1 - alpha_bar) / alpha_bar).clamp(max=1)


_EPSILON_PER_OWN: dict[str, Callable[[Tensor], Tensor]] = {
    "epsilon": torch.ones_like,
    "v_prediction": lambda alpha_bar: alpha_bar,
    "sample": lambda alpha_bar: alpha_bar / (1 - alpha_bar),
}
"""Squared epsilon error for a squared error of 1 in the own prediction type, at equal x_t."""


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()
