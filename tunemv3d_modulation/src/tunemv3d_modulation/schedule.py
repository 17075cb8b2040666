"""The noise schedule of a diffusers scheduler config, on the device and without host synchronisation."""

from collections.abc import Callable
from typing import Any

import diffusers
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import Tensor, nn

from tunemv3d_core.errors import ComponentError, suggestion
from tunemv3d_core.foreign_text import shown
from tunemv3d_core.sampling import first_latents, model_input

PREDICTIONS = ("epsilon", "v_prediction", "sample")

MAX_TIMESTEPS = 100_000
"""Longest schedule that is read; models have 1,000."""

SCHEDULERS = {
    "ddim": "DDIMScheduler",
    "dpm++": "DPMSolverMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
    "unipc": "UniPCMultistepScheduler",
}
"""Short names of deterministic diffusers schedulers; every other one goes by the name of its class."""


def make_scheduler(config: dict[str, Any], name: str) -> Any:
    """Make a diffusers scheduler on the schedule of ``config``; a named one spaces its steps "trailing".

    Args:
        config: content of a ``scheduler_config.json``.
        name: one of ``SCHEDULERS``, the class of any diffusers scheduler, or "" for the config's own class.

    Raises:
        ComponentError: an unknown name, or a scheduler that cannot sample what was trained on this schedule.
    """
    kind = SCHEDULERS.get(name, name) or str(config.get("_class_name"))
    classes = _classes()
    if kind not in classes:
        raise ComponentError(
            f"no scheduler '{shown(kind)}'.{suggestion(kind, [*SCHEDULERS, *classes])} Known: {', '.join(SCHEDULERS)}, "
            "the classes of diffusers such as HeunDiscreteScheduler, or '' for the model's own"
        )
    # Pixel models clip to [-1, 1], which is DDIM's default; latents have no such bounds.
    config = {"clip_sample": False, **_readable(config)}
    if name:
        # Few steps must begin at the last timestep: at high noise the layout is decided, and whether views agree.
        config["timestep_spacing"] = "trailing"
    check_length(config)
    _check_samples(kind, config)
    return getattr(diffusers, kind).from_config(config)


def _classes() -> list[str]:
    """List diffusers' schedulers without importing them."""
    return [known for known in dir(diffusers) if known.endswith("Scheduler")]


def _readable(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config without a class that is no scheduler: diffusers would import whatever of it is named there."""
    is_scheduler = config.get("_class_name") in _classes()
    return config if is_scheduler else {key: value for key, value in config.items() if key != "_class_name"}


def _check_samples(kind: str, config: dict[str, Any]) -> None:
    """Let a scheduler denoise a few cells, because its class does not tell whether it can.

    Raises:
        ComponentError: it stops with an error, or denoises another process than the one of ``config``.
    """
    refusal = f"scheduler {kind} cannot sample a model that predicts {config.get('prediction_type', 'epsilon')!r}"
    try:
        scheduler = getattr(diffusers, kind).from_config(config)
        scheduler.set_timesteps(4)
        x = first_latents(scheduler, torch.zeros(1, 1, 4, 2, 2))
        with torch.random.fork_rng(devices=[]):
            for t in scheduler.timesteps:
                x = scheduler.step(model_input(scheduler, x, t), t, x).prev_sample
    except Exception as error:  # each class has its own way of failing
        reason = " ".join(str(error).split())[:200]
        raise ComponentError(f"{refusal} on this schedule: {type(error).__name__}: {reason}") from error
    table, wanted = getattr(scheduler, "alphas_cumprod", None), training_table(config)
    if table is None or table.shape != wanted.shape or not torch.allclose(table.float(), wanted, atol=1e-6):
        raise ComponentError(f"{refusal}: its noise schedule is another one than the model was trained on")
    if scheduler.timesteps[0] <= scheduler.timesteps[-1]:
        raise ComponentError(f"{refusal}: it goes from clean to noisy")


def check_length(config: dict[str, Any]) -> None:
    """Refuse a schedule of so many timesteps that its table alone takes minutes.

    Raises:
        ComponentError: more than ``MAX_TIMESTEPS``, or no whole number.
    """
    steps = config.get("num_train_timesteps", 1000)
    if not isinstance(steps, int) or not 1 <= steps <= MAX_TIMESTEPS:
        kind = shown(config.get("_class_name", "scheduler"))
        raise ComponentError(
            f"{kind}: num_train_timesteps is {shown(steps)}; should be a whole number from 1 to {MAX_TIMESTEPS}"
        )


def training_table(config: dict[str, Any]) -> Tensor:
    """Tabulate abar at each training timestep, float32."""
    table: Tensor = DDPMScheduler.from_config(_readable(config)).alphas_cumprod.float()
    return table


class Schedule(nn.Module):
    """The forward process x_t = sqrt(abar) x + sqrt(1 - abar) noise with abar tabulated at the training timesteps.

    Every scheduler that samples Stable Diffusion shares this process, whatever its own class; flow matching does not.

    Args:
        config: content of a ``scheduler_config.json``.

    Raises:
        ComponentError: a prediction type or a family of schedulers without this process, unreadable numbers, or a
            schedule from whose end this prediction type gives no clean latents.
    """

    table: Tensor

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        kind = str(config.get("_class_name", "scheduler"))
        self.prediction = str(config.get("prediction_type", "epsilon"))
        if "Flow" in kind:
            raise ComponentError(f"{kind} has no variance-preserving noise schedule: flow matching is not supported")
        if self.prediction not in PREDICTIONS:
            raise ComponentError(
                f"{shown(kind)}: prediction_type is '{shown(self.prediction)}'; this backbone takes "
                f"{', '.join(PREDICTIONS)}"
            )
        check_length(config)
        try:
            table = training_table(config)
        except Exception as error:  # numbers of a wrong kind fail in as many ways
            reason = " ".join(str(error).split())[:200]
            raise ComponentError(f"{kind} has no readable noise schedule: {type(error).__name__}: {reason}") from error
        if self.prediction == "epsilon" and not float(table[-1]):
            raise ComponentError(
                f"{kind}: the model predicts 'epsilon', but its schedule ends without signal, where no x0 can be had: "
                "set rescale_betas_zero_snr to false, or prediction_type to 'v_prediction' if that is what it predicts"
            )
        self.register_buffer("table", table, persistent=False)

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
        """Return abar at t, float32 of t's shape: exact at whole steps, linear between neighbours."""
        last = self.train_timesteps - 1
        t = t.float().clamp(0, last)
        below = t.floor()
        index = below.long()
        return torch.lerp(self.table[index], self.table[(index + 1).clamp(max=last)], t - below)

    def scales(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return sqrt(abar) and sqrt(1 - abar) at t ``b n``, shaped and typed to multiply ``like`` (``b n c h w``)."""
        alpha_bar = self.alphas_cumprod(t)[(...,) + (None,) * (like.ndim - t.ndim)]
        return alpha_bar.sqrt().to(like.dtype), (1 - alpha_bar).sqrt().to(like.dtype)

    def add_noise(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return x_t of clean latents ``b n c h w`` at t ``b n``."""
        signal, sigma = self.scales(t, latents)
        return signal * latents + sigma * noise

    def target(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return the training target, what the model should predict from x_t, ``b n c h w``."""
        if self.prediction == "epsilon":
            return noise
        if self.prediction == "sample":
            return latents
        signal, sigma = self.scales(t, latents)
        return signal * noise - sigma * latents

    def predict_x0(self, prediction: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Return the clean latents of a prediction at x_t, ``b n c h w``: x_t without the predicted noise."""
        if self.prediction == "sample":
            return prediction
        signal, sigma = self.scales(t, x_t)
        if self.prediction == "epsilon":
            return (x_t - sigma * prediction) / signal
        return signal * x_t - sigma * prediction
