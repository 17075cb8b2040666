"""What a pipeline's callback gets after every step, and what it may change, with diffusers' names."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.guidance import Branches
from tunemv3d_core.sampling import SamplingStep, StepChange
from tunemv3d_core.types import Text
from tunemv3d_modulation.unet import image_sizes

StepCallback = Callable[[Any, int, float, dict[str, Any]], dict[str, Any] | None]
"""A callback of diffusers' kind: gets the pipeline, the step from 0, its timestep and named tensors; may return changed
ones, set ``pipe._guidance_scale``, or set ``pipe._interrupt`` to end the steps."""

CALLBACK_TENSORS = ("latents", "prompt_embeds", "add_text_embeds", "add_time_ids", "x_t", "x0", "opacity", "depth")
"""Tensors that a callback may ask for. Latents ``b n c h w`` after the step; tokens ``b l d`` (with guidance ``2 b l
d``, those to move away from first), of XL the pooled text and the image's sizes; the model's input in the step; the
field's x0, ``b n v h w``, and its opacity and depth, ``b n h w``. Those that a model does not have are None."""

CHANGEABLE = ("latents", "prompt_embeds", "add_text_embeds")


class Sampler(Protocol):
    """The part of ``TuneMV3DPipeline`` that its calls and callbacks need."""

    model: MultiviewDiffusion
    spec: RunSpec
    _guidance_scale: float
    _interrupt: bool
    _num_timesteps: int

    @property
    def execution_device(self) -> torch.device:
        """Device where tensors should be."""
        ...

    def image_size(self) -> tuple[int, int]:
        """Return (H, W) of the views, pixels."""
        ...


class StepReporter:
    """Calls a pipeline's callback after every step.

    Args:
        pipe: the pipeline, whose ``_guidance_scale`` and ``_interrupt`` are read after the callback.
        callback: None is only asked for an end.
        wanted: names of tensors, of ``CALLBACK_TENSORS``.
    """

    def __init__(self, pipe: Sampler, callback: StepCallback | None, wanted: Sequence[str]) -> None:
        self._pipe, self._callback, self._wanted = pipe, callback, wanted

    def __call__(self, step: SamplingStep) -> StepChange:
        """Return what the callback changed.

        Raises:
            TuneMV3DError: it changed what cannot be changed, or to another shape.
        """
        pipe = self._pipe
        pipe._num_timesteps = step.steps
        if self._callback is None:
            return StepChange(stop=pipe._interrupt)
        given = self._tensors(step)
        given = {name: given[name] for name in self._wanted}
        returned = dict(self._callback(pipe, step.index, step.t, dict(given)) or {})
        changed = {name: value for name, value in returned.items() if value is not given.get(name)}
        _check_changes(changed, given)
        branches = _changed_branches(step, changed, pipe._guidance_scale)
        return StepChange(changed.get("latents"), branches, pipe._interrupt)

    def _tensors(self, step: SamplingStep) -> dict[str, Tensor | None]:
        seen, text = step.prediction.rendering, step.branches.text
        sizes = None
        if text.pooled is not None:
            stride = self._pipe.model.backbone.ports.image_stride
            sizes = image_sizes(step.x_t[:1, 0].expand(len(text.tokens), -1, -1, -1), stride)
        return {
            "latents": step.latents,
            "prompt_embeds": text.tokens,
            "add_text_embeds": text.pooled,
            "add_time_ids": sizes,
            "x_t": step.x_t,
            "x0": step.prediction.x0,
            "opacity": None if seen is None else seen.opacity,
            "depth": None if seen is None else seen.depth,
        }


def _check_changes(changed: dict[str, Any], given: dict[str, Any]) -> None:
    """Refuse changes that would do nothing. Callbacks that end guidance cut the sizes together with the text."""
    for name, value in changed.items():
        if name == "add_time_ids" and given.get(name) is not None and torch.equal(value, given[name][-len(value) :]):
            continue
        if name not in CHANGEABLE:
            raise TuneMV3DError(f"a callback can change {', '.join(CHANGEABLE)}, not {name!r}")


def _changed_branches(step: SamplingStep, changed: dict[str, Any], guidance: float) -> Branches | None:
    """Return text and guidance for the next step; None where both are as they were."""
    old, objects = step.branches, len(step.x_t)
    tokens = changed.get("prompt_embeds", old.text.tokens)
    pooled = changed.get("add_text_embeds", old.text.pooled)
    if guidance == old.guidance and tokens is old.text.tokens and pooled is old.text.pooled:
        return None
    rows = len(tokens)
    if rows not in (objects, 2 * objects) or (guidance > 1 and rows != 2 * objects):
        raise TuneMV3DError(
            f"a callback left {rows} rows of prompt_embeds for {objects} objects at a guidance scale of {guidance:g}: "
            f"{objects} are needed without guidance, {2 * objects} with it"
        )
    # Of pooled text and mask the rows that belong to the tokens' ones: where half is cut, the half with text stays.
    mask = old.text.mask
    text = Text(tokens, None if pooled is None else pooled[-rows:], None if mask is None else mask[-rows:])
    return Branches(text, guidance, old.rescale)
