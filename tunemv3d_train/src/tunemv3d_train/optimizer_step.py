"""One optimizer step of a run: its draws, forward and backward passes, and the update of the weights."""

from contextlib import nullcontext
from typing import cast

import torch
from accelerate import Accelerator
from torch import Tensor

from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.cuda_graph import Tensors
from tunemv3d_train.compilation import Compilation
from tunemv3d_train.cuda_graph import capturable, captured_training
from tunemv3d_train.hooks import pictures_of
from tunemv3d_train.loss_sums import LossSums
from tunemv3d_train.non_finite import GradientGuard, gradient_norm
from tunemv3d_train.setup import Parts
from tunemv3d_train.sharding import average_numbers, share_gradients, summed


class OptimizerStep:
    """Does steps, as one CUDA graph where the spec asks for it, and sums their losses on the device.

    Args:
        spec: the resolved spec.
        accelerator: device, precision, processes.
        parts: the model and all that works on it.

    Attributes:
        guard: of the weights, against gradients that are not finite.
        sums: of the losses since they were read.
        pictures: what components and losses show of the last pass.
        is_captured: whether steps are a CUDA graph, or will be.
        in_passes: whether the weights are still those before the step; it may be begun anew.
    """

    def __init__(self, spec: RunSpec, accelerator: Accelerator, parts: Parts) -> None:
        self._spec, self._accelerator, self._parts = spec, accelerator, parts
        self.is_captured = capturable(spec, accelerator, parts.optimisation.uncapturable)
        self._captured = (
            captured_training(self._forward_backward, self.forget, accelerator.device) if self.is_captured else None
        )
        optimizers, is_scaled = parts.optimisation.optimizers, spec.train.precision == "fp16"
        self.guard = GradientGuard(optimizers, accelerator.device, is_scaled)
        self.sums = LossSums(parts.model.backbone.ports.train_timesteps, accelerator.num_processes)
        self.pictures: Tensors = {}
        self._compilation = None if spec.train.compile == "off" else Compilation(spec, accelerator, parts)
        self.in_passes, self._counted = False, 0

    @property
    def seconds_to_compile(self) -> float:
        """Seconds of the first step that went into compiling."""
        return 0.0 if self._compilation is None else self._compilation.seconds

    def announce(self, step: int) -> None:
        """Tell components and losses that ask for it that a step comes; once for each, outside a captured step."""
        steps, seed = self._spec.train.steps, self._spec.seed
        if self._captured is None or not self.is_captured:
            self._parts.followers(step, steps, seed)
        elif unseen := self._parts.followers.unseen(step, steps, seed):
            self.is_captured = False
            self._captured.give_up(unseen)

    def __call__(self, step: int) -> None:
        """Do a step: ``accumulate`` draws, forward and backward passes."""
        accumulate = self._spec.train.accumulate
        self._parts.optimisation.set_lr(step, self._spec.train.steps)
        self.guard.begin(step)
        if self._parts.average is not None:
            self._parts.average.prepare(step)
        compute = self._captured or self._forward_backward
        for micro in range(accumulate):
            plan = self._parts.sampler.plan(step * accumulate + micro)
            batch = cast(Tensors, self._parts.batches(plan))
            self.in_passes = True
            if self._compilation is not None:
                self._compilation.prepare(batch, plan.seed)
            # The field draws its own random points; seeding every pass makes a resumed run draw the same ones.
            torch.manual_seed(plan.seed)
            with nullcontext() if self._compilation is None else self._compilation.used():
                given = compute(batch)
            if micro >= self._counted:  # a step that is done again counts once
                self.sums.add(given, self.guard.found_inf)
                self._counted = micro + 1
        self._counted = 0
        self.pictures = pictures_of(given)

    def forget(self) -> None:
        """Drop the gradients of a step that was not done."""
        self._parts.optimisation.zero_grad()

    def _forward_backward(self, batch: Tensors) -> Tensors:
        """The whole pass; what a CUDA graph captures."""
        parts, accelerator = self._parts, self._accelerator
        with accelerator.accumulate(parts.step):
            loss: Tensor
            scalars: dict[str, Tensor]
            share_gradients(parts.step, last=accelerator.sync_gradients)
            with accelerator.autocast():
                loss, scalars = parts.step(**batch)
            accelerator.backward(loss)
            self.in_passes = not accelerator.sync_gradients
            if accelerator.sync_gradients:
                average_numbers(parts.step)
                self.guard.watch(self._clipped_norm())
                for optimizer, scaled in zip(parts.optimisation.optimizers, parts.accelerated_optimizers, strict=True):
                    if not self.guard.forbids(optimizer):
                        scaled.step()
                if parts.average is not None:
                    parts.average.update()
                parts.optimisation.zero_grad()
        return scalars

    def _clipped_norm(self) -> Tensor:
        """Clip the gradient where the spec says so, and return its norm before that."""
        parameters, limit = self._parts.parameters.values(), self._spec.optimizer.clip
        if limit:
            norm: Tensor = self._accelerator.clip_grad_norm_(parameters, limit)
            return summed(norm)
        return gradient_norm(parameters)
