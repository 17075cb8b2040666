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


def denoise(prediction: Tensor, target: Tensor, weight: Tensor, clean: Tensor) -> Tensor:
    """L_denoise: ``1/(b n) sum_i w_i mean((prediction_i - target_i)^2)`` over the views that are not clean.

    Args:
        prediction: ``b n c h w`` in the backbone's prediction type.
        target: like ``prediction``.
        weight: ``b n``.
        clean: ``b n`` boolean. Clean views leave the sum, while the denominator stays b n.
    """
    return (per_view_error(prediction, target) * weight * ~clean).mean()


def per_view_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of every view, ``b n``."""
    return (_exact(prediction) - _exact(target)).square().mean(dim=(-3, -2, -1))


def neus(inputs: Tensor, input_target: Tensor, novel: Tensor | None, novel_target: Tensor | None) -> Tensor:
    """L_neus (paper B.1): mean over the n + n' views of each view's mean absolute error.

    Args:
        inputs: ``b n c h w``, the rendered input views.
        input_target: like ``inputs``.
        novel: ``b m c r`` (or ``b m c h w``), the rendered novel views or a random subset of their cells.
        novel_target: like ``novel``.
    """
    errors = per_view_l1(inputs, input_target)
    if novel is not None and novel_target is not None:
        errors = torch.cat([errors, per_view_l1(novel, novel_target)], dim=1)
    return errors.mean()


def per_view_l1(rendered: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of every view, ``b n``."""
    return (_exact(rendered) - _exact(target)).abs().flatten(2).mean(dim=2)


def mask(opacity: Tensor, alpha: Tensor) -> Tensor:
    """Binary cross-entropy of the rendered opacity against the picture's alpha, both of any equal shape in [0, 1].

    Not in the paper: under L_neus alone a white fog around the object costs nothing on a white background.
    """
    opacity = _exact(opacity).clamp(1e-4, 1 - 1e-4)
    return -(alpha * opacity.log() + (1 - alpha) * (1 - opacity).log()).mean()


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
    snr = alpha_bar / (1 - alpha_bar)
    return snr.clamp(max=MIN_SNR_GAMMA) / snr


_EPSILON_PER_OWN: dict[str, Callable[[Tensor], Tensor]] = {
    "epsilon": torch.ones_like,
    "v_prediction": lambda alpha_bar: alpha_bar,
    "sample": lambda alpha_bar: alpha_bar / (1 - alpha_bar),
}
"""Squared epsilon error for a squared error of 1 in the own prediction type, at equal x_t."""


def _exact(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()
