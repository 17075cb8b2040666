"""Schedulers with diffusers' interface, as sampling uses them.

Each has ``set_timesteps(steps, device=...)``, ``timesteps`` and ``step(prediction, t, latents).prev_sample``. Two parts
may be missing, as in those of flow matching: ``init_noise_sigma`` and ``scale_model_input``.
"""

import copy
import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.slots import Backbone

Seed = int | Generator
"""Where an object's noise comes from: a number, or a generator on the CPU that goes on from where it is."""


def prepared_scheduler(backbone: Backbone, scheduler: Any, steps: int, device: torch.device | None = None) -> Any:
    """Return a fresh scheduler that is set to a number of steps.

    Args:
        backbone: whose noise schedule is sampled.
        scheduler: one with diffusers' interface, which is copied, or the name of one that the backbone knows.
        steps: denoising steps.
        device: of its timesteps.

    Raises:
        ComponentError: an unknown scheduler, or one that cannot sample the model.
        TuneMV3DError: it cannot take so many, or so few, steps.
    """
    scheduler = backbone.scheduler(scheduler) if isinstance(scheduler, str) else copy.deepcopy(scheduler)
    try:
        scheduler.set_timesteps(steps, device=device)
    except Exception as error:  # each class has its own way of failing
        reason = " ".join(str(error).split())[:200]
        raise TuneMV3DError(f"scheduler '{type(scheduler).__name__}' cannot take {steps} steps: {reason}") from error
    return scheduler


def first_latents(scheduler: Any, noise: Tensor) -> Tensor:
    """Scale unit noise to what the scheduler starts from; one without ``init_noise_sigma`` starts from the noise."""
    return noise * getattr(scheduler, "init_noise_sigma", 1.0)


def model_input(scheduler: Any, latents: Tensor, t: Tensor) -> Tensor:
    """Scale latents to what the model sees at t; a scheduler without ``scale_model_input`` shows them as they are."""
    scale = getattr(scheduler, "scale_model_input", None)
    return latents if scale is None else scale(latents, t)


def step_options(scheduler: Any, seeds: Sequence[Seed]) -> dict[str, Any]:
    """Options of a scheduler's ``step``: for one that draws noise, generators on from each object's own seed."""
    if "generator" not in inspect.signature(scheduler.step).parameters:
        return {}
    # Other numbers than those of the initial noise.
    return {"generator": [s if isinstance(s, Generator) else Generator().manual_seed(2**32 + int(s)) for s in seeds]}
