"""The trainer: from a spec to a run folder with checkpoints, previews, a log and figures before and after."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor

from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.console import messages
from tunemv3d_core.errors import DatasetError, TuneMV3DError
from tunemv3d_core.io.checkpoint import run_checkpoints, save_checkpoint
from tunemv3d_train import state
from tunemv3d_train.accelerator import accelerate
from tunemv3d_train.cuda_graph import CapturedStep, Tensors
from tunemv3d_train.evaluation import Figures
from tunemv3d_train.interruption import Interruption, watched
from tunemv3d_train.losses import LEVELS, level_name
from tunemv3d_train.optimisation import lr_factor, set_lr
from tunemv3d_train.page import write_page
from tunemv3d_train.progress import Progressed
from tunemv3d_train.runs import RunFolder
from tunemv3d_train.setup import Parts, build_parts, provenance


@dataclass(frozen=True)
class Outcome:
    """Result of a run.

    Attributes:
        step: steps done.
        interrupted: stopped by a signal; the checkpoint resumes it.
        checkpoint: the last whole one.
        preview: the last picture, if any.
        before: the fixed sample's figures at step 0.
        after: the same at the end; empty where interrupted.
        measured: what the figures were taken on.
    """

    step: int
    interrupted: bool
    checkpoint: Path
    preview: Path | None
    before: Figures
    after: Figures
    measured: str


def train(spec: RunSpec, out: Path, resume: bool = False) -> Outcome:
    """Run a spec in a folder.

    Args:
        spec: the resolved spec.
        out: the run's folder.
        resume: continue from its last whole checkpoint.

    Raises:
        TuneMV3DError: bad input, before anything is written; a full disk; a loss that is not finite.
    """
    accelerator = accelerate(spec)
    folder = RunFolder(out, spec)
    last = folder.check(resume)
    accelerator.wait_for_everyone()
    parts = build_parts(spec, accelerator, last)
    try:
        if accelerator.is_main_process:
            folder.claim(last)
            if parts.known_words is not None:
                parts.known_words.write(folder.known_words)
        return Trainer(spec, accelerator, folder, parts).run()
    finally:
        parts.close()
        folder.release()


class Trainer:
    """The loop.

    Args:
        spec: the resolved spec.
        accelerator: device, precision, processes.
        folder: claimed.
        parts: the model and all that works on it, restored where the run is resumed.
    """

    def __init__(self, spec: RunSpec, accelerator: Accelerator, folder: RunFolder, parts: Parts) -> None:
        self.spec, self.accelerator, self.folder, self.parts = spec, accelerator, folder, parts
        self._main = accelerator.is_main_process
        captured = _capturable(spec, accelerator)
        self._compute = (
            CapturedStep(self._forward_backward, self._drop_gradients) if captured else self._forward_backward
        )
        self._sums: dict[str, Tensor] = {}
        self._summed = 0
        self._before: Figures = parts.restored.get("before", {})
        self._preview: Path | None = None

    def run(self) -> Outcome:
        """Measure, train, measure again."""
        start = int(self.parts.restored.get("step", 0))
        steps = self.spec.train.steps
        if self._main and not self._before:
            self._before = self._measure("measuring before training")
        progress, done, interrupted = None, start, False
        after: Figures = {}
        if self._main and self._is_finished(start):
            after = self._logged(start)
            self._preview = self.folder.preview(start) if self.parts.preview else None
        elif self._main:
            progress = Progressed(self.folder, steps, start, float(self.parts.restored.get("seconds", 0.0)))
            if start == 0:
                progress.record(0, self._before, self.parts.measurement.sample.prefix)
        self.accelerator.wait_for_everyone()
        with watched() as interruption, _opened(progress):
            if progress is not None and start:
                self._make_up(start, progress)
            for step in range(start, steps):
                self._step_or_save(step, progress if step > start else None)
                done = step + 1
                interrupted = self._stop_wanted(interruption, done)
                self._report(done, interrupted, progress)
                if interrupted:
                    break
            if progress is not None and not interrupted:
                after = self._finish(done, progress)
        self.accelerator.wait_for_everyone()
        last = run_checkpoints(self.folder.path)[-1]
        measured = self.parts.measurement.sample.description
        return Outcome(done, interrupted, last, self._preview, self._before, after, measured)

    def _step_or_save(self, step: int, progress: Progressed | None) -> None:
        """A step; where its pictures cannot be read, the steps before it are kept."""
        try:
            self._step(step)
        except DatasetError as error:
            if progress is None:
                raise
            self._save(step, progress)
            raise DatasetError(f"{error}. Mend it and go on after step {step} with --resume") from error

    def _step(self, step: int) -> None:
        """One optimizer step: ``accumulate`` draws, forward and backward passes."""
        accumulate = self.spec.train.accumulate
        set_lr(self.parts.optimizer, self._lr_factor(step))
        if self.parts.average is not None:
            self.parts.average.prepare(step)
        for micro in range(accumulate):
            plan = self.parts.sampler.plan(step * accumulate + micro)
            batch = cast(Tensors, self.parts.batches(plan))
            # The field draws its own random points; seeding every pass makes a resumed run draw the same ones.
            torch.manual_seed(plan.seed)
            scalars = self._compute(batch)
            self._add(scalars)

    def _lr_factor(self, step: int) -> float:
        options = self.spec.optimizer
        return lr_factor(step, self.spec.train.steps, options.warmup, options.schedule)

    def _forward_backward(self, batch: Tensors) -> Tensors:
        """The whole pass; what a CUDA graph captures."""
        parts, accelerator = self.parts, self.accelerator
        with accelerator.accumulate(parts.step):
            loss: Tensor
            scalars: dict[str, Tensor]
            loss, scalars = parts.step(**batch)
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                if self.spec.optimizer.clip:
                    accelerator.clip_grad_norm_(parts.parameters.values(), self.spec.optimizer.clip)
                parts.accelerated_optimizer.step()
                if parts.average is not None:
                    parts.average.update()
                self._drop_gradients()
        return scalars

    def _drop_gradients(self) -> None:
        self.parts.optimizer.zero_grad(set_to_none=True)

    def _add(self, scalars: dict[str, Tensor]) -> None:
        """Sum the losses on the device; they are read only when they are logged."""
        if not self._sums:
            self._sums = {name: value.clone() for name, value in scalars.items()}
        else:
            for name, value in scalars.items():
                self._sums[name] += value
        self._summed += 1

    def _read(self) -> dict[str, float]:
        """Mean losses since the last reading. Waits for the device.

        Raises:
            TuneMV3DError: the loss is not finite.
        """
        if not self._summed:
            return {}
        means = mean_losses(self._sums, self._summed, self.parts.model.backbone.ports.train_timesteps)
        self._sums, self._summed = {}, 0
        if not math.isfinite(means["loss"]):
            raise TuneMV3DError(
                f"the loss is not finite ({means}); lower optimizer.lr or train.precision and start again, or "
                f"resume from the last checkpoint in {self.folder.path} with --resume"
            )
        return means

    def _report(self, done: int, interrupted: bool, progress: Progressed | None) -> None:
        """Do what is due after a step: log, checkpoint, measurement, preview; in this order nothing is lost."""
        options = self.spec.train
        last = done == options.steps
        saving = interrupted or last or done % options.checkpoint_every == 0
        if saving or done % options.log_every == 0:
            means = self._read()
            if progress is not None and means:
                progress.losses(done, means, self.spec.optimizer.lr * self._lr_factor(done - 1))
        if progress is None:
            return
        progress.advance(done)
        if saving:
            self._save(done, progress)
        if interrupted or last:
            return
        if self._is_due(options.evaluate_every, done):
            self._measured(done, progress)
        if self._is_due(options.preview_every, done):
            self._draw_preview(done, progress)

    def _is_due(self, every: int, done: int) -> bool:
        return bool(every) and done % every == 0 and done < self.spec.train.steps

    def _make_up(self, done: int, progress: Progressed) -> None:
        """Do what was due at the step that the run goes on from, and was not done when it ended there."""
        if self._is_due(self.spec.train.evaluate_every, done) and not self._logged(done):
            self._measured(done, progress)
        if self._is_due(self.spec.train.preview_every, done) and not self.folder.preview(done).exists():
            self._draw_preview(done, progress)

    def _finish(self, done: int, progress: Progressed) -> Figures:
        """Measure and draw the end of the run."""
        after = self._logged(done) or self._measured(done, progress, "measuring after training")
        self._draw_preview(done, progress)
        return after

    def _is_finished(self, done: int) -> bool:
        """Tell whether nothing is left to do after ``done`` steps, not even to measure and to draw."""
        drawn = self.parts.preview is None or self.folder.preview(done).exists()
        return done == self.spec.train.steps and drawn and bool(self._logged(done))

    def _logged(self, done: int) -> Figures:
        return self.folder.figures(done, self.parts.measurement.sample.prefix)

    def _measured(self, done: int, progress: Progressed, announced: str = "") -> Figures:
        figures = self._measure(announced)
        progress.record(done, figures, self.parts.measurement.sample.prefix)
        progress.restart_clock(done)
        return figures

    def _save(self, done: int, progress: Progressed) -> None:
        parts = self.parts
        sample = self.parts.measurement.sample
        measured = [len(sample.objects), list(sample.timesteps)]
        values = {"step": done, "seconds": progress.seconds, "before": self._before, "measured": measured}
        values |= {"data": self.parts.fingerprint, "processes": self.accelerator.num_processes}
        save_checkpoint(
            self.folder.checkpoint(done),
            parts.model,
            self.spec,
            weights=None if parts.average is None else parts.average.values,
            state=state.collect(parts.parameters, parts.optimizer, values),
            data=provenance(self.spec, parts.dataset),
        )
        self.folder.prune(self.spec.train.keep)
        write_page(self.folder, done)

    def _measure(self, announced: str = "") -> Figures:
        if announced:
            messages.print(f"{announced}: {self.parts.measurement.sample.description}")
        with self._published(), self.accelerator.autocast():
            return self.parts.measurement()

    def _draw_preview(self, done: int, progress: Progressed) -> None:
        if self.parts.preview is not None:
            with self._published(), self.accelerator.autocast():
                self._preview = self.parts.preview(self.folder.preview(done), done)
            progress.picture(done, self._preview)
            progress.restart_clock(done)
            write_page(self.folder, done)

    @contextmanager
    def _published(self) -> Iterator[None]:
        """The model with the weights that a checkpoint publishes."""
        if self.parts.average is None:
            yield
        else:
            with self.parts.average.applied():
                yield

    def _stop_wanted(self, interruption: Interruption, done: int) -> bool:
        """Tell whether to stop after this step. Several processes agree on it every few steps."""
        if self.accelerator.num_processes == 1:
            return interruption.requested
        if done % self.spec.train.log_every:
            return False
        wish = torch.tensor(float(interruption.requested), device=self.accelerator.device)
        return bool(self.accelerator.reduce(wish, "sum") > 0)


def mean_losses(sums: dict[str, Tensor], steps: int, timesteps: int) -> dict[str, float]:
    """Means of losses that were summed over steps; those by ranges of t only for ranges that were drawn."""
    # One transfer from the device for all of them.
    values = torch.cat([tensor.flatten().float() for tensor in sums.values()]).tolist()
    means: dict[str, float] = {}
    for name, tensor in sums.items():
        own, values = values[: tensor.numel()], values[tensor.numel() :]
        if tensor.ndim == 0:
            means[name] = own[0] / steps
            continue
        for level, (total, count) in enumerate(zip(own[:LEVELS], own[LEVELS:], strict=True)):
            if count:
                means[name.removesuffix("t") + level_name(level, timesteps)] = total / count
    return means


@contextmanager
def _opened(progress: Progressed | None) -> Iterator[None]:
    if progress is None:
        yield
    else:
        with progress:
            yield


def _capturable(spec: RunSpec, accelerator: Accelerator) -> bool:
    """Tell whether the step runs as a CUDA graph; says why not where the spec asks for it in vain."""
    if not spec.train.cuda_graph:
        return False
    reasons: dict[str, Any] = {
        "there is no GPU": accelerator.device.type != "cuda",
        "several processes train together": accelerator.num_processes > 1,
        "train.accumulate is not 1": spec.train.accumulate != 1,
        "fp16 scales its loss on the host": spec.train.precision == "fp16",
    }
    for reason, holds in reasons.items():
        if holds:
            messages.print(f"train.cuda_graph: off, because {reason}", style="yellow")
            return False
    return True
