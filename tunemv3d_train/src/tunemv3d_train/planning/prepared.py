"""A training step with all that it needs, on a device or without numbers: no weights and no pictures are read."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn

from tunemv3d_core.assemble import assemble
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.devices import TRAINED_IN
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.ports import BackbonePorts
from tunemv3d_core.slots import OptimizerContext
from tunemv3d_train.batches import Batch
from tunemv3d_train.cuda_graph import will_capture
from tunemv3d_train.loss_terms import build_terms
from tunemv3d_train.moving_average import MovingAverage
from tunemv3d_train.non_finite import GradientGuard, gradient_norm
from tunemv3d_train.optimisation import Optimisation, trainable
from tunemv3d_train.planning.stand_ins import META, KeepMeta, backward
from tunemv3d_train.setup import cast_frozen
from tunemv3d_train.spec_checks import check_field
from tunemv3d_train.step import TrainingStep

SPREAD = 0.02
"""Standard deviation of the numbers that stand for weights."""


def skeleton(spec: RunSpec, maps: Mapping[str, int]) -> TrainingStep:
    """Build a spec's training step on the CPU, weights that would be read on the meta device.

    Args:
        spec: of the run.
        maps: channels of the maps that the dataset has beside its pictures, by name.
    """
    with KeepMeta():
        model = assemble(spec.model, weights=False)
        check_field(spec, model)
        cast_frozen(spec, model)
        return TrainingStep(model, spec.views.inputs, spec.loss, maps).train()


def latent_size(spec: RunSpec, ports: BackbonePorts) -> tuple[int, int]:
    """Return (h, w) of the run's latents: its pictures must have the size of its samples."""
    if spec.sample.size is None:
        return ports.latent_size, ports.latent_size
    h, w = (side // ports.image_stride for side in spec.sample.size)
    return h, w


class Prepared:
    """A step on a device, or on stand-ins for its tensors.

    Args:
        spec: of the run.
        step: of ``skeleton``; its tensors are replaced.
        place: the device.
        real: whether tensors have numbers; weights that were not read get random ones.

    Attributes:
        model: the model.
        parameters: the trained ones.
        optimisation: their optimizers.
        average: of the weights, or None.
        batch: of the step.
    """

    def __init__(self, spec: RunSpec, step: TrainingStep, place: torch.device, real: bool) -> None:
        self._spec, self._step, self._place = spec, step, place
        self.model: MultiviewDiffusion = step.model
        _replace_tensors(step, _on(place) if real else _without_numbers)
        step.terms = build_terms(spec.loss, self.model)
        size = latent_size(spec, self.model.backbone.ports)
        if self.model.field is not None:
            white = torch.zeros(self.model.backbone.ports.latent_channels, *size, device=place)
            self.model.background_latent = lambda size, device=None: white  # type: ignore[method-assign]
        self.parameters = trainable(self.model)
        captured = will_capture(spec, place.type)
        self.optimisation = Optimisation(spec.optimizer, self.parameters, OptimizerContext(captured=captured))
        self._guard = GradientGuard(self.optimisation.optimizers, place, spec.train.precision == "fp16")
        self.average = MovingAverage(self.parameters, spec.train.ema) if spec.train.ema else None
        self.batch = _batch(spec, step, size, place)
        self._make_state()

    def step(self) -> None:
        """Do an optimizer step."""
        for _ in range(self._spec.train.accumulate):
            self.one_pass()
        self.update()

    def one_pass(self) -> None:
        """Do a forward and a backward pass."""
        dtype = TRAINED_IN[self._spec.train.precision]
        cached = not will_capture(self._spec, self._place.type)
        half = dtype != torch.float32
        with torch.autocast(self._place.type, dtype, cache_enabled=cached) if half else nullcontext():
            loss, _ = self._step(**self.batch)
        backward(loss / self._spec.train.accumulate)

    def update(self) -> None:
        """Change the weights by their gradients, and drop these."""
        trained, limit = list(self.parameters.values()), self._spec.optimizer.clip
        norm = nn.utils.clip_grad_norm_(trained, limit) if limit else gradient_norm(trained)
        self._guard.watch(norm)
        for optimizer in self.optimisation.optimizers:
            optimizer.step()
        if self.average is not None:
            self.average.update()
        self.optimisation.zero_grad()

    def _make_state(self) -> None:
        """Let the optimizers make their state, as after the first step."""
        for parameter in self.parameters.values():
            parameter.grad = torch.zeros_like(parameter)
        for optimizer in self.optimisation.optimizers:
            optimizer.step()
        self.optimisation.zero_grad()


def _replace_tensors(module: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
    """Replace the parameters and buffers of a module; those that several modules share stay shared."""
    replaced: dict[int, tuple[Tensor, Tensor]] = {}
    for each in module.modules():
        for held in (each._parameters, each._buffers):
            for name, tensor in held.items():
                if tensor is None:
                    continue
                if id(tensor) not in replaced:
                    changed = change(tensor.detach())
                    parameter = isinstance(tensor, nn.Parameter)
                    new = nn.Parameter(changed, tensor.requires_grad) if parameter else changed
                    replaced[id(tensor)] = tensor, new
                held[name] = replaced[id(tensor)][1]  # type: ignore[assignment]


def _without_numbers(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, device=META)


def _on(place: torch.device) -> Callable[[Tensor], Tensor]:
    def changed(tensor: Tensor) -> Tensor:
        if not tensor.is_meta:
            return tensor.to(place)
        made = torch.zeros_like(tensor, device=place)
        return made.normal_(std=SPREAD) if made.is_floating_point() else made

    return changed


def _batch(spec: RunSpec, step: TrainingStep, size: tuple[int, int], place: torch.device) -> Batch:
    """Make a batch of the run's sizes: noise for latents, cameras around the object, one prompt."""
    b, n, m, (h, w) = spec.train.batch, spec.views.inputs, spec.views.novel, size
    backbone = step.model.backbone
    cameras = Cameras.orbit(n + m).to(place)[None].expand(b, n + m)
    with torch.no_grad():
        text = backbone.encode_text(["an object"] * b)
    latents = torch.randn(b, n + m, backbone.ports.latent_channels, h, w, device=place)
    batch: dict[str, Any] = {
        "latents": latents,
        "alpha": torch.rand(b, n + m, h, w, device=place),
        "noise": torch.randn_like(latents[:, :n]),
        "t": torch.full((b, n), backbone.ports.train_timesteps / 2, device=place),
        "is_clean": torch.zeros(b, n, dtype=torch.bool, device=place),
        "poses": cameras.camera_to_world,
        "intrinsics": cameras.intrinsics,
        **{name: value for name, value in vars(text).items() if value is not None},
    }
    if spec.views.novel_pixels < 1:
        cells = max(1, round(spec.views.novel_pixels * h * w))
        batch["novel_pixels"] = torch.rand(b, m, h * w, device=place).argsort(-1)[..., :cells]
    if step.maps:
        batch["maps"] = torch.rand(b, n + m, sum(step.maps.values()), h, w, device=place)
    return cast(Batch, batch)
