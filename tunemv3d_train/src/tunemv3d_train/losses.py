"""The training losses (paper Eq. 3), one small function a term. All return float32 (or the inputs' float64) scalars."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from tunemv3d_core.errors import SpecError

Weighting = Literal["uniform", "v", "min-snr"]
Target = Literal["backbone", "x_prev"]

V_CLIP = 50.0
"""Largest weight of an epsilon error under the weighting "v"."""

MIN_SNR_GAMMA = 5.0
"""gamma of Hang et al., Efficient Diffusion Training via Min-SNR Weighting Strategy, 2023."""


LEVELS = 5
"""Equal ranges of t by which losses are reported: what modulation gains, it gains at high t, where errors are tiny."""


def denoise(prediction: Tensor, target: Tensor, weight: Tensor, is_clean: Tensor) -> Tensor:
    """L_denoise: ``1/(b n) sum_i w_i mean((prediction_i - target_i)^2)`` over the views that are not clean.

    Args:
        prediction: ``b n c h w`` in the backbone's prediction type.
        target: like ``prediction``.
        weight: ``b n``.
        is_clean: ``b n`` boolean. Clean views leave the sum, while the denominator stays b n.
    """
    return (per_view_error(prediction, target) * weight * ~is_clean).mean()


def per_view_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of every view, ``b n``."""
    return (_exact(prediction) - _exact(target)).square().mean(dim=(-3, -2, -1))


def neus(inputs: Tensor, input_target: Tensor, novel: Tensor | None, novel_target: Tensor | None) -> Tensor:
    """L_neus of each view (paper B.1), ``b (n + m)``: its mean absolute error. Their mean is the loss.

    Args:
        inputs: ``b n c h w``, the rendered input views.
        input_target: like ``inputs``.
        novel: ``b m c r`` (or ``b m c h w``), the rendered novel views or a random subset of their cells.
        novel_target: like ``novel``.
    """
    return _of_all_views(per_view_l1, inputs, input_target, novel, novel_target)


def per_view_l1(rendered: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of every view, ``b n``."""
    return (_exact(rendered) - _exact(target)).abs().flatten(2).mean(dim=2)


def mask(opacity: Tensor, alpha: Tensor, novel_opacity: Tensor | None, novel_alpha: Tensor | None) -> Tensor:
    """Binary cross-entropy of each view's rendered opacity against its picture's alpha, ``b (n + m)``.

    Not in the paper: under L_neus alone a white fog around the object costs nothing on a white background.

    Args:
        opacity: ``b n h w`` in [0, 1], of the input views.
        alpha: like ``opacity``.
        novel_opacity: ``b m r`` (or ``b m h w``).
        novel_alpha: like ``novel_opacity``.
    """
    return _of_all_views(per_view_cross_entropy, opacity, alpha, novel_opacity, novel_alpha)


def per_view_cross_entropy(opacity: Tensor, alpha: Tensor) -> Tensor:
    """Mean binary cross-entropy of every view, ``b n``; opacities nearer to 0 or 1 than 1e-4 count as 1e-4 away."""
    opacity = _exact(opacity).clamp(1e-4, 1 - 1e-4)
    return -(alpha * opacity.log() + (1 - alpha) * (1 - opacity).log()).flatten(2).mean(dim=2)


def _of_all_views(
    error: Callable[[Tensor, Tensor], Tensor], seen: Tensor, target: Tensor, novel: Tensor | None, wanted: Tensor | None
) -> Tensor:
    if novel is None or wanted is None:
        return error(seen, target)
    return torch.cat([error(seen, target), error(novel, wanted)], dim=1)


def by_level(errors: Tensor, counted: Tensor, t: Tensor, timesteps: int) -> Tensor:
    """Sums and counts of the views' errors in ``LEVELS`` equal ranges of t, ``2 LEVELS``.

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
    """The function of t (``b n``) that gives L_denoise's weight of every view.

    Weights are stated for the epsilon error and converted to the error of the backbone's own prediction type.

    Args:
        prediction: the backbone's prediction type.
        target: "x_prev" gives the letter of B.3.
        weighting: ignored for "x_prev", which is a weighting itself.
        alphas_cumprod: the schedule.

    Raises:
        SpecError: a weighting that has no meaning for this prediction type.
    """
    if target == "backbone" and weighting == "uniform":
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


def x_prev_weight(alpha_bar: Tensor, alpha_bar_before: Tensor) -> Tensor:
    """What ``||x_{t-1} - x~_{t-1}||^2`` (B.3) makes of a squared epsilon error: ``beta^2 / (alpha (1 - alphabar))``.

    With ``x_{t-1} = (x_t - beta / sqrt(1 - alphabar) eps) / sqrt(alpha)``, ``alpha = alphabar_t / alphabar_{t-1}``
    and ``beta = 1 - alpha``.
    """
    alpha = alpha_bar / alpha_bar_before
    return (1 - alpha).square() / (alpha * (1 - alpha_bar))


def v_weight(alpha_bar: Tensor) -> Tensor:
    """An epsilon error in units of v, ``1 / alphabar``, clipped at ``V_CLIP``."""
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


def _exact(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()
