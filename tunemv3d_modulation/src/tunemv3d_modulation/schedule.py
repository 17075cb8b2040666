"""The noise schedule of a diffusers scheduler config, on the device and without host synchronisation."""

from collections.abc import Callable
from typing import Any

import diffusers
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import Tensor, nn

from tunemv3d_core.errors import ComponentError

PREDICTIONS = ("epsilon", "v_prediction", "sample")

SOLVERS = {
    "ddim": "DDIMScheduler",
    "dpm++": "DPMSolverMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
    "unipc": "UniPCMultistepScheduler",
}
"""Deterministic diffusers schedulers by their names in specs."""


def make_solver(config: dict[str, Any], name: str) -> Any:
    """A fresh diffusers scheduler on the schedule of ``config``; a named one spaces its steps "trailing".

    Args:
        config: content of a ``scheduler_config.json``.
        name: one of ``SOLVERS``, or "" for the config's own class.

    Raises:
        ComponentError: an unknown name.
    """
    # Pixel models clip to [-1, 1], which is DDIM's default; latents have no such bounds.
    config = {"clip_sample": False, **config}
    if not name:
        return getattr(diffusers, config["_class_name"]).from_config(config)
    if name not in SOLVERS:
        raise ComponentError(f"no scheduler '{name}'. Known: {', '.join(SOLVERS)}, or '' for the model's own")
    # Few steps must begin at the last timestep: at high noise the layout is decided, and with it whether views agree.
    return getattr(diffusers, SOLVERS[name]).from_config({**config, "timestep_spacing": "trailing"})


class Schedule(nn.Module):
    """The forward process x_t = sqrt(abar) x + sqrt(1 - abar) noise with abar tabulated at the training timesteps.

    Every scheduler that samples Stable Diffusion shares this process, whatever its own class; flow matching does not.

    Args:
        config: content of a ``scheduler_config.json``.

    Raises:
        ComponentError: a prediction type or a family of schedulers without this process.
    """

    table: Tensor

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        kind = str(config.get("_class_name", "scheduler"))
        self.prediction = str(config.get("prediction_type", "epsilon"))
        if "Flow" in kind or self.prediction not in PREDICTIONS:
            raise ComponentError(
                f"{kind} with prediction_type {self.prediction!r} has no variance-preserving noise schedule; "
                f"this backbone takes models that predict {', '.join(PREDICTIONS)}"
            )
        self.register_buffer("table", DDPMScheduler.from_config(config).alphas_cumprod.float(), persistent=False)

    @property
    def train_timesteps(self) -> int:
        """Number of timesteps; t lies in [0, train_timesteps)."""
        return self.table.shape[0]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        # A model cast to half precision keeps its schedule in float32: 1 - abar has no digits left in half.
        exact = self.table
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.table = exact.to(self.table.device)
        return self

    def alphas_cumprod(self, t: Tensor) -> Tensor:
        """Abar at t, float32 of t's shape: exact at whole steps, linear between neighbours."""
        last = self.train_timesteps - 1
        t = t.float().clamp(0, last)
        below = t.floor()
        index = below.long()
        return torch.lerp(self.table[index], self.table[(index + 1).clamp(max=last)], t - below)

    def scales(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(abar) and sqrt(1 - abar) at t ``b n``, shaped and typed to multiply ``like`` (``b n c h w``)."""
        alpha_bar = self.alphas_cumprod(t)[(...,) + (None,) * (like.ndim - t.ndim)]
        return alpha_bar.sqrt().to(like.dtype), (1 - alpha_bar).sqrt().to(like.dtype)

    def add_noise(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t of clean latents ``b n c h w`` at t ``b n``."""
        signal, sigma = self.scales(t, latents)
        return signal * latents + sigma * noise

    def target(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What the model is trained to predict from x_t, ``b n c h w``."""
        if self.prediction == "epsilon":
            return noise
        if self.prediction == "sample":
            return latents
        signal, sigma = self.scales(t, latents)
        return signal * noise - sigma * latents

    def clean(self, prediction: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The clean latents that a prediction at x_t stands for, ``b n c h w``: x_t without the predicted noise."""
        if self.prediction == "sample":
            return prediction
        signal, sigma = self.scales(t, x_t)
        if self.prediction == "epsilon":
            # With a zero terminal SNR nothing of the latents is left at the last timestep.
            return (x_t - sigma * prediction) / signal.clamp(min=1e-3)
        return signal * x_t - sigma * prediction
