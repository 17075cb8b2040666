"""Sampling n views of b objects together: the one loop that the pipeline, previews and metrics share."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.diffusion import MultiviewDiffusion, Prediction
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.ports import BackbonePorts
from tunemv3d_core.slots import Backbone, Scene
from tunemv3d_core.strength import strength_of_steps
from tunemv3d_core.types import Rendering, Text

SURFACE_TIMESTEP = 20.0
"""The noise level at which finished views are fused into a scene: as clean as the field has seen in training."""


@dataclass(frozen=True)
class SamplingStep:
    """What a callback sees after each step.

    Attributes:
        index: from 0.
        t: the timestep that was denoised.
        latents: ``b n c h w`` after the step.
        prediction: of the branch with text; its x0 and rendering show the shape appearing. With guidance its scene is
            not there, because it is one scene of both branches.
    """

    index: int
    t: float
    latents: Tensor
    prediction: Prediction


@dataclass(frozen=True)
class KnownViews:
    """Views that are given and stay as they are, while the others are made to fit them (image to 3D).

    Attributes:
        latents: ``b n c h w``, clean, read where ``views`` holds.
        views: ``b n`` boolean.
    """

    latents: Tensor
    views: Tensor

    def put_into(self, latents: Tensor) -> Tensor:
        """``b n c h w`` with the known views in their places."""
        return torch.where(self.views[..., None, None, None], self.latents, latents)


def latent_size(ports: BackbonePorts, pixels: tuple[int, int] | None) -> tuple[int, int]:
    """(h, w) of the latents of views of (height, width) pixels; None stands for what the 2D model was made for.

    Raises:
        TuneMV3DError: the pixels are no whole number of latent cells.
    """
    if pixels is None:
        return ports.latent_size, ports.latent_size
    if any(side % ports.image_stride for side in pixels):
        raise TuneMV3DError(f"sample.size: {list(pixels)} should be multiples of {ports.image_stride} pixels")
    return pixels[0] // ports.image_stride, pixels[1] // ports.image_stride


def initial_noise(
    seeds: Sequence[int], views: int, channels: int, size: tuple[int, int], shared: bool = False
) -> Tensor:
    """Noise ``b n c h w``, one seed an object: the same on every device and in every batch.

    ``shared`` gives all views of an object the same noise.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    drawn = torch.stack([torch.randn(1 if shared else views, channels, *size, generator=g) for g in generators])
    return drawn.expand(-1, views, -1, -1, -1).contiguous()


@torch.no_grad()
def sample(
    model: MultiviewDiffusion,
    text: Text,
    cameras: Cameras,
    seeds: Sequence[int],
    *,
    steps: int,
    size: tuple[int, int] | None = None,
    scheduler: str = "",
    guidance: float = 1.0,
    negative: Text | None = None,
    consistency: float | Sequence[float] = 1.0,
    shared_noise: bool = False,
    known: KnownViews | None = None,
    on_step: Callable[[SamplingStep], None] | None = None,
) -> Tensor:
    """Denoise, and return clean latents ``b n c h w``.

    K acts inside each branch, then guidance combines the branches; each branch fuses its own scene, as in training.

    Args:
        model: the model.
        text: b prompts.
        cameras: ``b n``.
        seeds: b of them; an object's noise depends on its own alone.
        steps: denoising steps.
        size: (h, w) of the latents; default: what the backbone was made for.
        scheduler: name of one that the backbone knows; "" takes the model's own.
        guidance: classifier-free guidance scale; 1 is none and runs one branch.
        negative: b prompts to move away from; needed where guidance is not 1.
        consistency: K, see ``MultiviewDiffusion.predict``; several numbers are a schedule, see ``strength_of_steps``.
        shared_noise: start all views of an object from the same noise.
        known: views that are given; they are shown to the model clean (t = 0) and left out of the scheduler's steps.
        on_step: called after every step.
    """
    ports = model.backbone.ports
    size = (ports.latent_size, ports.latent_size) if size is None else size
    noise = initial_noise(seeds, cameras.shape[1], ports.latent_channels, size, shared_noise)
    solver = prepared_solver(model.backbone, scheduler, steps, cameras.intrinsics.device)
    options = _noise_source(solver, seeds)
    guided = guidance != 1
    if guided:
        if negative is None:
            raise ValueError("guidance needs the negative prompts' text")
        text, cameras = Text.cat([negative, text]), Cameras.cat([cameras, cameras])
    latents: Tensor = noise.to(next(model.parameters())) * solver.init_noise_sigma
    strength = strength_of_steps(consistency, len(solver.timesteps))
    for index, t in enumerate(solver.timesteps):
        x_t, level = _shown(solver.scale_model_input(latents, t), t, known)
        if guided:
            x_t, level = torch.cat([x_t, x_t]), torch.cat([level, level])
        prediction = model.predict(x_t, level, text, cameras, strength[index])
        if guided:
            prediction = _guide(prediction, guidance)
        latents = solver.step(prediction.modulated, t, latents, **options).prev_sample
        if known is not None:
            latents = known.put_into(latents)
        if on_step is not None:
            on_step(SamplingStep(index, float(t), latents, prediction))
    return latents


def prepared_solver(backbone: Backbone, scheduler: str, steps: int, device: torch.device | None = None) -> Any:
    """A scheduler of the backbone that is set to a number of steps.

    Raises:
        ComponentError: an unknown scheduler, or one that cannot sample the model.
        TuneMV3DError: it cannot take so many, or so few, steps.
    """
    solver = backbone.scheduler(scheduler)
    try:
        solver.set_timesteps(steps, device=device)
    except Exception as error:  # each class has its own way of failing
        name, reason = scheduler or type(solver).__name__, " ".join(str(error).split())[:200]
        raise TuneMV3DError(f"scheduler '{name}' cannot take {steps} steps: {reason}") from error
    return solver


def _noise_source(solver: Any, seeds: Sequence[int]) -> dict[str, Any]:
    """What a solver's step needs to draw further noise from each object's own seed, for those that draw any."""
    if "generator" not in inspect.signature(solver.step).parameters:
        return {}
    # Other numbers than those of the initial noise.
    return {"generator": [torch.Generator().manual_seed(2**32 + seed) for seed in seeds]}


def _shown(x_t: Tensor, t: Tensor, known: KnownViews | None) -> tuple[Tensor, Tensor]:
    """What the model sees, ``b n c h w``, and its noise levels, ``b n``: known views are clean."""
    level = t.float().expand(x_t.shape[:2])
    if known is None:
        return x_t, level
    return known.put_into(x_t), level.masked_fill(known.views, 0.0)


@torch.no_grad()
def fuse_clean(
    model: MultiviewDiffusion, latents: Tensor, text: Text, cameras: Cameras, t: float = SURFACE_TIMESTEP, seed: int = 0
) -> Scene:
    """The scene of finished views: clean latents ``b n c h w`` get noise of level t, as in training, and are fused."""
    shape = latents.shape
    noise = initial_noise([seed] * shape[0], shape[1], shape[2], (shape[3], shape[4])).to(latents)
    level = torch.full(shape[:2], t, device=latents.device)
    return model.fuse(model.backbone.add_noise(latents, noise, level), level, text, cameras)


def _guide(prediction: Prediction, guidance: float) -> Prediction:
    """Combine the branches ``[without text, with text]``; what is shown of the field is the second's."""
    without, with_text = prediction.modulated.chunk(2)
    guided = without + guidance * (with_text - without)
    if prediction.x0 is None or prediction.rendering is None:
        return Prediction(guided)
    seen = prediction.rendering
    values, opacity, depth = (z.chunk(2)[1] for z in (seen.values, seen.opacity, seen.depth))
    return Prediction(guided, prediction.x0.chunk(2)[1], Rendering(values, opacity, depth))
