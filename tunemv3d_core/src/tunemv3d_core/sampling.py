"""Sampling n views of b objects together: the one loop that pipeline, previews, evaluation and viewer share.

Schedulers have diffusers' interface: ``set_timesteps(steps, device=...)``, ``timesteps`` and
``step(prediction, t, latents).prev_sample``. Two parts may be missing, as in those of flow matching:
``init_noise_sigma`` and ``scale_model_input``.
"""

import copy
import inspect
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.run_spec import SampleSpec
from tunemv3d_core.consistency import consistency_schedule
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.guidance import Branches, Denoises
from tunemv3d_core.ports import BackbonePorts
from tunemv3d_core.predictions import CapturedPredictions, EagerPredictions
from tunemv3d_core.slots import Backbone, HasSurface, Prediction, Scene
from tunemv3d_core.types import Text

Seed = int | Generator
"""Where an object's noise comes from: a number, or a generator on the CPU that goes on from where it is."""

SURFACE_TIMESTEP = 20.0
"""The noise level at which finished views are fused into a scene: as clean as the field has seen in training."""


@dataclass(frozen=True)
class SamplingStep:
    """A denoising step as callbacks see it.

    Attributes:
        index: from 0.
        steps: of the whole sampling.
        t: the timestep that was denoised.
        x_t: ``b n c h w``, what the model saw at t.
        latents: ``b n c h w`` after the step.
        prediction: of the branch with text; its x0 and rendering show the shape appearing. Its scene is
            not there with guidance, because it is one scene of both branches, nor where steps are CUDA graphs.
        branches: its text and guidance.
    """

    index: int
    steps: int
    t: float
    x_t: Tensor
    latents: Tensor
    prediction: Prediction
    branches: Branches


@dataclass(frozen=True)
class StepChange:
    """What a callback changes after a step; None leaves it as it is.

    Attributes:
        latents: ``b n c h w``.
        branches: text and guidance of the steps that follow.
        stop: end here, with the latents as they are.
    """

    latents: Tensor | None = None
    branches: Branches | None = None
    stop: bool = False


@dataclass(frozen=True)
class Course:
    """Where one sampling starts and which steps it takes, where a call says it otherwise than a spec.

    Attributes:
        noise: ``b n c h w``, unit noise to start from, in place of what the seeds draw.
        begin: go on from latents ``b n c h w`` as they were before the step of this index, instead of from noise.
        timesteps: of the steps, for a scheduler that takes them, in place of the evenly spaced ones.
        sigmas: likewise, by noise level.
        eta: of DDIM: 0 is deterministic, 1 draws as much noise as DDPM.
        guidance_rescale: see ``Branches.rescale``.
    """

    noise: Tensor | None = None
    begin: tuple[int, Tensor] | None = None
    timesteps: Sequence[int] | None = None
    sigmas: Sequence[float] | None = None
    eta: float = 0.0
    guidance_rescale: float = 0.0


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
        """Return ``b n c h w`` with the known views in their places."""
        return torch.where(self.views[..., None, None, None], self.latents, latents)


def latent_size(ports: BackbonePorts, pixels: tuple[int, int] | None) -> tuple[int, int]:
    """Return (h, w) of the latents of views of (height, width) pixels; None is the size the 2D model was made for.

    Raises:
        TuneMV3DError: the pixels are no whole number of latent cells.
    """
    if pixels is None:
        return ports.latent_size, ports.latent_size
    cell = ports.image_stride
    if any(side % cell for side in pixels):
        nearest = [max(1, round(side / cell)) * cell for side in pixels]
        raise TuneMV3DError(
            f"sample.size: {list(pixels)} should be multiples of {cell} pixels, the size of a latent cell: "
            f"take {nearest}, for example"
        )
    return pixels[0] // cell, pixels[1] // cell


def initial_noise(
    seeds: Sequence[Seed], views: int, channels: int, size: tuple[int, int], shared: bool = False
) -> Tensor:
    """Draw noise ``b n c h w`` on the CPU, one seed per object: the same on every device and in every batch.

    With ``shared`` all views of an object get the same noise.
    """
    generators = [seed if isinstance(seed, Generator) else Generator().manual_seed(int(seed)) for seed in seeds]
    drawn = torch.stack([torch.randn(1 if shared else views, channels, *size, generator=g) for g in generators])
    return drawn.expand(-1, views, -1, -1, -1).contiguous()


STRAIGHT = Course()


@torch.no_grad()
def sample(
    model: Denoises,
    text: Text,
    cameras: Cameras,
    seeds: Sequence[Seed],
    options: SampleSpec,
    *,
    scheduler: Any = None,
    negative: Text | None = None,
    known: KnownViews | None = None,
    on_step: Callable[[SamplingStep], StepChange | None] | None = None,
    course: Course = STRAIGHT,
) -> Tensor:
    """Denoise, and return clean latents ``b n c h w``.

    K acts inside each branch, then guidance combines the branches; each branch fuses its own scene, as in training.

    Args:
        model: the model.
        text: b prompts.
        cameras: ``b n``.
        seeds: b of them; an object's noise depends on its own alone.
        options: steps, size, guidance, K, shared noise, and the scheduler's name.
        scheduler: one with diffusers' interface, in place of the one that the options name.
        negative: b prompts to move away from; needed with guidance.
        known: views that are given; they are shown to the model clean (t = 0) and left out of the scheduler's steps.
        on_step: called after every step; what it returns holds from the next one on.
        course: start and steps, where they are not the options'.

    Raises:
        TuneMV3DError: a size of no whole number of latent cells, or a scheduler that cannot take the steps.
    """
    device = cameras.intrinsics.device
    if options.guided and negative is None:
        raise ValueError("guidance needs the negative prompts' text")
    both = Text.cat([negative, text]) if options.guided and negative is not None else text
    branches = Branches(both, options.guidance, course.guidance_rescale)
    # One generator per object draws the first noise and whatever the steps add, as diffusers' pipelines do.
    generators = [seed if isinstance(seed, Generator) else Generator().manual_seed(int(seed)) for seed in seeds]
    noise = course.noise
    if noise is None:
        ports = model.backbone.ports
        size = latent_size(ports, options.size)
        noise = initial_noise(generators, cameras.shape[1], ports.latent_channels, size, options.shared_noise)
    scheduler = options.scheduler if scheduler is None else scheduler
    scheduler = prepared_scheduler(model.backbone, scheduler, options.steps, device, course)
    drawing = step_options(scheduler, generators, course.eta)
    latents = first_latents(scheduler, noise.to(device, text.tokens.dtype))
    consistency = consistency_schedule(options.consistency, len(scheduler.timesteps))
    predictions = CapturedPredictions(model, cameras) if model.is_captured else EagerPredictions(model, cameras)
    first, latents = (0, latents) if course.begin is None else (course.begin[0], course.begin[1].to(latents))
    with closing(predictions) as predict:
        for index, t in list(enumerate(scheduler.timesteps))[first:]:
            x_t, level = _shown(model_input(scheduler, latents, t), t, known)
            prediction = predict(branches, x_t, level, consistency[index])
            latents = scheduler.step(prediction.modulated, t, latents, **drawing).prev_sample
            if known is not None:
                latents = known.put_into(latents)
            if on_step is not None:
                seen = SamplingStep(index, len(scheduler.timesteps), float(t), x_t, latents, prediction, branches)
                change = on_step(seen) or StepChange()
                latents = latents if change.latents is None else change.latents
                branches = branches if change.branches is None else change.branches
                if change.stop:
                    break
    return latents


def prepared_scheduler(
    backbone: Backbone, scheduler: Any, steps: int, device: torch.device | None = None, course: Course = STRAIGHT
) -> Any:
    """Return a fresh scheduler that is set to a number of steps.

    Args:
        backbone: whose noise schedule is sampled.
        scheduler: one with diffusers' interface, which is copied, or the name of one that the backbone knows.
        steps: denoising steps.
        device: of its timesteps.
        course: with timesteps or sigmas in place of the number.

    Raises:
        ComponentError: an unknown scheduler, or one that cannot sample the model.
        TuneMV3DError: it cannot take these steps, or so many, or so few, or begins where the model gives no numbers.
    """
    scheduler = backbone.scheduler(scheduler) if isinstance(scheduler, str) else copy.deepcopy(scheduler)
    named = {"timesteps": course.timesteps, "sigmas": course.sigmas}
    given = {name: list(values) for name, values in named.items() if values is not None}
    kind, what = type(scheduler).__name__, f"these {' and '.join(given)}" if given else f"{steps} steps"
    takes = inspect.signature(scheduler.set_timesteps).parameters
    if lacking := [name for name in given if name not in takes]:
        raise TuneMV3DError(f"scheduler '{kind}' takes no {lacking[0]}; leave them out, or take another scheduler")
    try:
        if given:
            scheduler.set_timesteps(**given, device=device)
        else:
            scheduler.set_timesteps(steps, device=device)
    except Exception as error:  # each class has its own way of failing
        reason = " ".join(str(error).split())[:200]
        raise TuneMV3DError(f"scheduler '{kind}' cannot take {what}: {reason}") from error
    _check_begin(backbone, scheduler)
    return scheduler


def _check_begin(backbone: Backbone, scheduler: Any) -> None:
    """Refuse steps that begin where nothing of the latents is left, for a model that cannot tell them there."""
    table = getattr(scheduler, "alphas_cumprod", None)
    if backbone.ports.prediction == "epsilon" and table is not None and not float(table[scheduler.timesteps[0].long()]):
        raise TuneMV3DError(
            f"scheduler '{type(scheduler).__name__}' begins at pure noise, from where a model that predicts epsilon "
            "gives no numbers: make it without rescale_betas_zero_snr"
        )


def first_latents(scheduler: Any, noise: Tensor) -> Tensor:
    """Scale unit noise to what the scheduler starts from; one without ``init_noise_sigma`` starts from the noise."""
    return noise * getattr(scheduler, "init_noise_sigma", 1.0)


def model_input(scheduler: Any, latents: Tensor, t: Tensor) -> Tensor:
    """Scale latents to what the model sees at t; a scheduler without ``scale_model_input`` shows them as they are."""
    scale = getattr(scheduler, "scale_model_input", None)
    return latents if scale is None else scale(latents, t)


def step_options(scheduler: Any, generators: list[Generator], eta: float = 0.0) -> dict[str, Any]:
    """Return the options of a scheduler's ``step``: for one that draws noise each object's generator, and eta.

    Raises:
        TuneMV3DError: an eta for a scheduler that has none.
    """
    takes = inspect.signature(scheduler.step).parameters
    options: dict[str, Any] = {"generator": generators} if "generator" in takes else {}
    if eta and "eta" not in takes:
        raise TuneMV3DError(f"scheduler '{type(scheduler).__name__}' has no eta, which is DDIM's; leave eta at 0")
    return options | ({"eta": eta} if eta else {})


def _shown(x_t: Tensor, t: Tensor, known: KnownViews | None) -> tuple[Tensor, Tensor]:
    """Return the views that the model sees, ``b n c h w``, and their noise levels, ``b n``: known views are clean."""
    level = t.float().expand(x_t.shape[:2])
    if known is None:
        return x_t, level
    return known.put_into(x_t), level.masked_fill(known.views, 0.0)


@torch.no_grad()
def fuse_clean(
    model: Denoises, latents: Tensor, text: Text, cameras: Cameras, t: float = SURFACE_TIMESTEP, seed: int = 0
) -> Scene:
    """Fuse finished views into a scene: clean latents ``b n c h w`` get noise of level t first, as in training."""
    shape = latents.shape
    noise = initial_noise([seed] * shape[0], shape[1], shape[2], (shape[3], shape[4])).to(latents)
    level = torch.full(shape[:2], t, device=latents.device)
    return model.fuse(model.backbone.add_noise(latents, noise, level), level, text, cameras)


def has_surface(model: Denoises, cameras: Cameras, size: tuple[int, int]) -> bool:
    """Find out from blank views, without sampling any, if the scenes of a model's field have a surface.

    Args:
        model: the model.
        cameras: ``1 n``.
        size: (h, w) of the latents.
    """
    text = model.backbone.encode_text([""])
    blank = text.tokens.new_zeros(*cameras.shape, model.backbone.ports.latent_channels, *size)
    return isinstance(fuse_clean(model, blank, text, cameras), HasSurface)
