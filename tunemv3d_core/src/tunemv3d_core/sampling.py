"""Sampling n views of b objects together: the one loop that the pipeline, previews and metrics share."""

import copy
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Generator, Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.consistency import consistency_schedule
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.ports import BackbonePorts
from tunemv3d_core.slots import Backbone, HasSurface, Prediction, Scene
from tunemv3d_core.types import Rendering, Text

Seed = int | Generator
"""Where an object's noise comes from: a number, or a generator on the CPU that goes on from where it is."""

SURFACE_TIMESTEP = 20.0
"""The noise level at which finished views are fused into a scene: as clean as the field has seen in training."""


class Denoises(Protocol):
    """What sampling needs of a ``MultiviewDiffusion``."""

    @property
    def backbone(self) -> Backbone:
        """Of the model."""
        ...

    def predict(self, x_t: Tensor, t: Tensor, text: Text, cameras: Cameras, consistency: float = 1.0) -> Prediction:
        """See ``MultiviewDiffusion.predict``."""
        ...

    def fuse(self, x_t: Tensor, t: Tensor, text: Text, cameras: Cameras) -> Scene:
        """See ``MultiviewDiffusion.fuse``."""
        ...


@dataclass(frozen=True)
class SamplingStep:
    """What a callback sees after each step.

    Attributes:
        index: from 0.
        t: the timestep that was denoised.
        x_t: ``b n c h w``, what the model saw at t.
        latents: ``b n c h w`` after the step.
        prediction: of the branch with text; its x0 and rendering show the shape appearing. With guidance its scene is
            not there, because it is one scene of both branches.
    """

    index: int
    t: float
    x_t: Tensor
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
    seeds: Sequence[Seed], views: int, channels: int, size: tuple[int, int], shared: bool = False
) -> Tensor:
    """Noise ``b n c h w`` on the CPU, one seed an object: the same on every device and in every batch.

    ``shared`` gives all views of an object the same noise.
    """
    generators = [seed if isinstance(seed, Generator) else Generator().manual_seed(int(seed)) for seed in seeds]
    drawn = torch.stack([torch.randn(1 if shared else views, channels, *size, generator=g) for g in generators])
    return drawn.expand(-1, views, -1, -1, -1).contiguous()


@torch.no_grad()
def sample(
    model: Denoises,
    text: Text,
    cameras: Cameras,
    seeds: Sequence[Seed],
    *,
    steps: int,
    size: tuple[int, int] | None = None,
    scheduler: Any = "",
    guidance: float = 1.0,
    negative: Text | None = None,
    consistency: float | Sequence[float] = 1.0,
    shared_noise: bool = False,
    known: KnownViews | None = None,
    on_step: Callable[[SamplingStep], Tensor | None] | None = None,
    begin: tuple[int, Tensor] | None = None,
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
        scheduler: one with diffusers' interface, or the name of one that the backbone knows; "" takes the model's own.
        guidance: classifier-free guidance scale; 1 is none and runs one branch.
        negative: b prompts to move away from; needed where guidance is not 1.
        consistency: K, see ``MultiviewDiffusion.predict``; several numbers are a ``consistency_schedule``.
        shared_noise: start all views of an object from the same noise.
        known: views that are given; they are shown to the model clean (t = 0) and left out of the scheduler's steps.
        on_step: called after every step; latents that it returns are gone on with.
        begin: go on from latents ``b n c h w`` as they were before the step of this index, instead of from noise.
    """
    ports = model.backbone.ports
    size = (ports.latent_size, ports.latent_size) if size is None else size
    device = cameras.intrinsics.device
    noise = initial_noise(seeds, cameras.shape[1], ports.latent_channels, size, shared_noise)
    scheduler = prepared_scheduler(model.backbone, scheduler, steps, device)
    options = _noise_source(scheduler, seeds)
    guided = guidance != 1
    if guided:
        if negative is None:
            raise ValueError("guidance needs the negative prompts' text")
        text, cameras = Text.cat([negative, text]), Cameras.cat([cameras, cameras])
    latents: Tensor = noise.to(device, text.tokens.dtype) * scheduler.init_noise_sigma
    strength = consistency_schedule(consistency, len(scheduler.timesteps))
    first, latents = (0, latents) if begin is None else (begin[0], begin[1].to(latents))
    for index, t in list(enumerate(scheduler.timesteps))[first:]:
        x_t, level = _shown(scheduler.scale_model_input(latents, t), t, known)
        if guided:
            both = torch.cat([x_t, x_t]), torch.cat([level, level])
            prediction = _guide(model.predict(*both, text, cameras, strength[index]), guidance)
        else:
            prediction = model.predict(x_t, level, text, cameras, strength[index])
        latents = scheduler.step(prediction.modulated, t, latents, **options).prev_sample
        if known is not None:
            latents = known.put_into(latents)
        if on_step is not None:
            changed = on_step(SamplingStep(index, float(t), x_t, latents, prediction))
            latents = latents if changed is None else changed
    return latents


def prepared_scheduler(backbone: Backbone, scheduler: Any, steps: int, device: torch.device | None = None) -> Any:
    """A fresh scheduler that is set to a number of steps.

    Args:
        backbone: whose schedule is sampled.
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
        name = scheduler if isinstance(scheduler, str) and scheduler else type(scheduler).__name__
        reason = " ".join(str(error).split())[:200]
        raise TuneMV3DError(f"scheduler '{name}' cannot take {steps} steps: {reason}") from error
    return scheduler


def _noise_source(scheduler: Any, seeds: Sequence[Seed]) -> dict[str, Any]:
    """What a scheduler's step needs to draw further noise from each object's own seed, for those that draw any."""
    if "generator" not in inspect.signature(scheduler.step).parameters:
        return {}
    # Other numbers than those of the initial noise.
    return {"generator": [s if isinstance(s, Generator) else Generator().manual_seed(2**32 + int(s)) for s in seeds]}


def _shown(x_t: Tensor, t: Tensor, known: KnownViews | None) -> tuple[Tensor, Tensor]:
    """What the model sees, ``b n c h w``, and its noise levels, ``b n``: known views are clean."""
    level = t.float().expand(x_t.shape[:2])
    if known is None:
        return x_t, level
    return known.put_into(x_t), level.masked_fill(known.views, 0.0)


@torch.no_grad()
def fuse_clean(
    model: Denoises, latents: Tensor, text: Text, cameras: Cameras, t: float = SURFACE_TIMESTEP, seed: int = 0
) -> Scene:
    """The scene of finished views: clean latents ``b n c h w`` get noise of level t, as in training, and are fused."""
    shape = latents.shape
    noise = initial_noise([seed] * shape[0], shape[1], shape[2], (shape[3], shape[4])).to(latents)
    level = torch.full(shape[:2], t, device=latents.device)
    return model.fuse(model.backbone.add_noise(latents, noise, level), level, text, cameras)


def has_surface(model: Denoises, cameras: Cameras, size: tuple[int, int]) -> bool:
    """Whether scenes of a model that has a field have a surface; blank views tell, so that nothing need be sampled.

    Args:
        model: the model.
        cameras: ``1 n``.
        size: (h, w) of the latents.
    """
    text = model.backbone.encode_text([""])
    blank = text.tokens.new_zeros(*cameras.shape, model.backbone.ports.latent_channels, *size)
    return isinstance(fuse_clean(model, blank, text, cameras), HasSurface)


def _guide(prediction: Prediction, guidance: float) -> Prediction:
    """Combine the branches ``[without text, with text]``; what is shown of the field is the second's."""
    without, with_text = prediction.modulated.chunk(2)
    guided = without + guidance * (with_text - without)
    if prediction.x0 is None or prediction.rendering is None:
        return Prediction(guided)
    seen = prediction.rendering
    values, opacity, depth = (z.chunk(2)[1] for z in (seen.values, seen.opacity, seen.depth))
    return Prediction(guided, prediction.x0.chunk(2)[1], Rendering(values, opacity, depth))
