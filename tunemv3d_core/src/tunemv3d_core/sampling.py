"""Sampling n views of b objects together: the one loop that the pipeline, previews and metrics share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.diffusion import MultiviewDiffusion, Prediction
from tunemv3d_core.slots import Scene
from tunemv3d_core.types import Text

SURFACE_TIMESTEP = 20.0
"""The noise level at which finished views are fused into a scene: as clean as the field has seen in training."""


@dataclass(frozen=True)
class SamplingStep:
    """What a callback sees after each step.

    Attributes:
        index: from 0.
        t: the timestep that was denoised.
        latents: ``b n c h w`` after the step.
        prediction: the branch with text; its x0 and scene show the shape appearing.
    """

    index: int
    t: float
    latents: Tensor
    prediction: Prediction


def initial_noise(seeds: Sequence[int], views: int, channels: int, size: tuple[int, int]) -> Tensor:
    """Noise ``b n c h w``, one seed an object: the same on every device and in every batch."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return torch.stack([torch.randn(views, channels, *size, generator=g) for g in generators])


@torch.no_grad()
def sample(
    model: MultiviewDiffusion,
    text: Text,
    cameras: Cameras,
    noise: Tensor,
    *,
    steps: int,
    scheduler: str = "",
    guidance: float = 1.0,
    negative: Text | None = None,
    consistency: float = 1.0,
    on_step: Callable[[SamplingStep], None] | None = None,
) -> Tensor:
    """Denoise, and return clean latents ``b n c h w``.

    K acts inside each branch, then guidance combines the branches; each branch fuses its own scene, as in training.

    Args:
        model: the model.
        text: b prompts.
        cameras: ``b n``.
        noise: ``b n c h w``, unit variance.
        steps: denoising steps.
        scheduler: name of one that the backbone knows; "" takes the model's own.
        guidance: classifier-free guidance scale; 1 is none and runs one branch.
        negative: b prompts to move away from; needed where guidance is not 1.
        consistency: K, see ``MultiviewDiffusion.predict``.
        on_step: called after every step.
    """
    solver = model.backbone.scheduler(scheduler)
    solver.set_timesteps(steps, device=noise.device)
    guided = guidance != 1
    if guided:
        if negative is None:
            raise ValueError("guidance needs the negative prompts' text")
        text, cameras = Text.cat([negative, text]), Cameras.cat([cameras, cameras])
    latents: Tensor = noise * solver.init_noise_sigma
    for index, t in enumerate(solver.timesteps):
        x_t = solver.scale_model_input(latents, t)
        x_t = torch.cat([x_t, x_t]) if guided else x_t
        prediction = model.predict(x_t, t.float().expand(x_t.shape[:2]), text, cameras, consistency)
        if guided:
            prediction = _guide(prediction, guidance)
        latents = solver.step(prediction.modulated, t, latents).prev_sample
        if on_step is not None:
            on_step(SamplingStep(index, float(t), latents, prediction))
    return latents


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
    x0 = None if prediction.x0 is None else prediction.x0.chunk(2)[1]
    return replace(prediction, modulated=guided, x0=x0)
