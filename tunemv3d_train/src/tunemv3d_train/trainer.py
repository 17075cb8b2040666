"""The trainer: from a spec to a run folder with checkpoints, previews, a log and figures before and after."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from accelerate import Accelerator

from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.console import messages
from tunemv3d_core.cuda_graph import Tensors
from tunemv3d_core.errors import DatasetError, SpecError, TuneMV3DError, suggestion
from tunemv3d_core.io.checkpoint import run_checkpoints
from tunemv3d_train import state
from tunemv3d_train.accelerator import accelerate
from tunemv3d_train.checkpoints import write_checkpoint
from tunemv3d_train.evaluation import Figures
from tunemv3d_train.interruption import watched
from tunemv3d_train.memory import memory_error, smaller_chunks
from tunemv3d_train.monitor import Monitor
from tunemv3d_train.non_finite import keep_batch
from tunemv3d_train.optimizer_step import OptimizerStep
from tunemv3d_train.progress import Progressed
from tunemv3d_train.ranks import GO_ON, together
from tunemv3d_train.runs import RunFolder
from tunemv3d_train.setup import Parts, build_parts
from tunemv3d_train.sharding import check_moments, is_sharded, whole
from tunemv3d_train.watchdog import ALPHA, OPACITY, Watchdog

ROLL_BACKS = 3
"""So often a run goes back to a checkpoint before it stops."""


@dataclass(frozen=True)
class Outcome:
    """Result of a run.

    Attributes:
        step: steps done.
        interrupted: stopped by a signal; the checkpoint resumes it.
        checkpoint: the last whole one.
        best: the one that is kept as the best, where the spec asks for it.
        preview: the last picture, if any.
        before: the fixed sample's figures at step 0.
        after: the same at the end; empty where interrupted.
        measured: what the figures were taken on.
    """

    step: int
    interrupted: bool
    checkpoint: Path
    best: Path | None
    preview: Path | None
    before: Figures
    after: Figures
    measured: str


def train(spec: RunSpec, out: Path, resume: bool = False) -> Outcome:
    """Run a spec in a folder: ``Trainer.run`` of the trainer that ``opened`` gives.

    Args:
        spec: the resolved spec.
        out: the run's folder.
        resume: continue from its last whole checkpoint.

    Raises:
        TuneMV3DError: bad input, before anything is written; a full disk; a loss that is not finite.
    """
    with opened(spec, out, resume) as trainer:
        return trainer.run()


@contextmanager
def opened(spec: RunSpec, out: Path, resume: bool = False) -> Iterator["Trainer"]:
    """Build and check all that a run needs, claim its folder, and give its trainer; arguments as for ``train``.

    Raises:
        TuneMV3DError: bad input, before anything is written.
    """
    accelerator = accelerate(spec)
    with together(accelerator), ExitStack() as left:
        folder = RunFolder(out, spec)
        left.callback(folder.release)
        # Before a checkpoint is chosen: a run that is still at work would remove it meanwhile.
        if resume and (out / "spec.json").is_file() and accelerator.is_main_process:
            folder.lock()
        last = folder.check(resume)
        accelerator.wait_for_everyone()
        parts = build_parts(spec, accelerator, last)
        left.callback(parts.close)
        if accelerator.is_main_process:
            folder.claim(last)
            if parts.known_words is not None:
                parts.known_words.write(folder.known_words)
        yield Trainer(spec, accelerator, folder, parts)


class Trainer:
    """A run: its parts, and the loop over its steps. ``opened`` makes one.

    ``run`` does all that a spec asks for. A loop of your own calls ``step`` for each step in turn, ``losses`` where it
    wants to know them, and ``save``.

    Args:
        spec: the resolved spec.
        accelerator: device, precision, processes.
        folder: claimed.
        parts: the model and all that works on it, restored where the run is resumed.

    Attributes:
        spec: the resolved spec.
        accelerator: device, precision, processes.
        folder: of the run.
        parts: the model, its dataset, optimizers and figures.
        start: steps that were done before: 0, or those of the checkpoint that the run goes on from.
    """

    def __init__(self, spec: RunSpec, accelerator: Accelerator, folder: RunFolder, parts: Parts) -> None:
        self.spec, self.accelerator, self.folder, self.parts = spec, accelerator, folder, parts
        self._main = accelerator.is_main_process
        self.start = int(parts.restored.get("step", 0))
        self._optimizer_step = OptimizerStep(spec, accelerator, parts)
        # Others would wait in vain for the gradients of a pass that begins anew.
        alone = accelerator.num_processes == 1
        self._sharded = is_sharded(parts.step)
        self._retries = spec.train.on_oom == "retry" and not self._optimizer_step.is_captured and alone
        self._roll_backs = int(parts.restored.get("roll_backs", 0))
        if self._roll_backs:
            parts.sampler.draw_anew(self._roll_backs)
        self._monitor = Monitor(spec, accelerator, folder, parts)
        self._watchdog = Watchdog(parts.model, self.start, bool(spec.loss.scene.get("eikonal")))
        self._before: Figures = parts.restored.get("before", {})

    def run(self) -> Outcome:
        """Measure, train, measure again, with all that is due between; until a signal, or the last step.

        Raises:
            TuneMV3DError: a full disk; a picture that cannot be read; gradients that are not finite.
        """
        start, steps = self.start, self.spec.train.steps
        with self._monitor.published():
            if self._main and not self._before:
                self._before = self._monitor.measure("measuring before training")
                self._check_best()
        progress, done, interrupted = None, start, False
        after: Figures = {}
        if self._main and self._monitor.is_finished(start):
            after = self._monitor.logged(start)
        elif self._main:
            progress = Progressed(self.folder, steps, start, float(self.parts.restored.get("seconds", 0.0)))
            if start == 0:
                progress.record(0, self._before, self.parts.measurement.sample.prefix)
        self.accelerator.wait_for_everyone()
        with watched() as interruption, progress or nullcontext():
            with self._monitor.published():
                if progress is not None and start:
                    self._monitor.make_up(start, progress)
            while done < steps and not interrupted:
                self._step_or_save(done, progress if done > start else None)
                if progress is not None and done == start:
                    progress.leave_out(self._optimizer_step.seconds_to_compile)
                done += 1
                interrupted = interruption.agreed()
                done = self._report(done, interrupted, progress)
            with self._monitor.published():
                if progress is not None and not interrupted:
                    after = self._monitor.finish(done, progress)
        self.accelerator.wait_for_everyone()
        last = run_checkpoints(self.folder.path)[-1]
        measured = self.parts.measurement.sample.description
        best, preview = self.folder.best(), self._monitor.preview
        return Outcome(done, interrupted, last, best, preview, self._before, after, measured)

    def _check_best(self) -> None:
        name = self.spec.train.keep_best
        if name and name not in self._before:
            measured = ", ".join(self._before)
            raise SpecError(
                f"train.keep_best: no figure '{name}' is measured.{suggestion(name, self._before)} {measured}"
            )

    def step(self, step: int) -> None:
        """Do one optimizer step: tell who follows steps, draw batches, learn from them, and sum the losses.

        Args:
            step: its number: ``start`` first, then one more each time, below ``train.steps``.

        Raises:
            DatasetError: a picture cannot be read.
            ComponentError: a schedule, or what a component reports, is not what it should be; an optimizer whose
                moments cannot lie in shards.
            torch.OutOfMemoryError: memory is too small; no weight has changed.
        """
        self._optimizer_step.announce(step)
        while smaller := self._tried(step):
            # Outside the handler of the error, whose traceback holds the step's tensors.
            self._optimizer_step.forget()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self._warn([f"out of memory in step {step + 1}: it is done again with {smaller}, which changes no result"])
            self.accelerator.step = 0  # the passes of a step are counted from its first one
        if self._sharded and step == self.start:
            check_moments(self.parts.optimisation.optimizers)
        self._monitor.pictures = self._optimizer_step.pictures

    def _tried(self, step: int) -> str:
        """Try a step; return what was set so that it may be tried again with less memory, "" when it is done."""
        try:
            self._optimizer_step(step)
        except torch.OutOfMemoryError:
            if self._retries and self._optimizer_step.in_passes and (smaller := smaller_chunks(self.parts.model.field)):
                return smaller
            raise
        return ""

    def _step_or_save(self, step: int, progress: Progressed | None) -> None:
        """A step; where its pictures cannot be read or memory is too small, the steps before it are kept."""
        try:
            self.step(step)
        except DatasetError as error:
            if progress is None or self._sharded:
                raise
            self.save(step, progress.seconds)
            raise DatasetError(f"{error}. Mend it and go on after step {step} with --resume") from error
        except torch.OutOfMemoryError as error:
            kept = "No step is lost: there was none"
            if self._sharded:
                kept = GO_ON
            elif progress is not None:
                self._optimizer_step.forget()
                self.save(step, progress.seconds)
                kept = f"Step {step} is kept in {self.folder.checkpoint(step)}"
            raise memory_error(error, self.parts.model, self.spec, kept) from error

    def losses(self) -> dict[str, float]:
        """Return the mean losses, and what components report, since the last call. Waits for the device."""
        means, _ = self._optimizer_step.sums.read()
        return {name: value for name, value in means.items() if name not in (OPACITY, ALPHA)}

    def _read(self, done: int, progress: Progressed | None) -> tuple[dict[str, float], int]:
        """Mean losses since the last reading, and the step to go on from. Waits for the device.

        Raises:
            TuneMV3DError: a gradient was not finite, and the spec says to stop then.
        """
        means, skipped = self._optimizer_step.sums.read()
        self._warn(self._watchdog.read(done, means))
        if not skipped or self._optimizer_step.guard.scaled:
            return means, done
        first = self._optimizer_step.guard.first()
        problem = self._told_of_skipped(first, skipped)
        means |= {"skipped": float(skipped)}
        policy = self.spec.train.non_finite
        if policy == "roll_back" and self._roll_backs < ROLL_BACKS and (whole := run_checkpoints(self.folder.path)):
            messages.print(f"{problem}. Going back to {whole[-1].name}, and on from there with other draws")
            back_to = self._roll_back(whole[-1])
            if progress is not None:
                progress.restart_clock(back_to)
            return {}, back_to
        if policy != "skip":
            self.save(done, 0.0 if progress is None else progress.seconds)
            raise TuneMV3DError(
                f"{problem}. The steps before and after it are kept: go on with --resume --set train.non_finite=skip, "
                "or start anew with a lower optimizer.lr or train.precision=fp32"
            )
        messages.print(problem, style="yellow", soft_wrap=True)
        return means, done

    def _told_of_skipped(self, first: int, skipped: int) -> str:
        """Keep the batch of the first skipped step for study, and say where."""
        rank = self.accelerator.process_index
        path = self.folder.path / "non_finite" / f"step-{first + 1:06d}{f'-rank{rank}' if rank else ''}.safetensors"
        plan = self.parts.sampler.plan(first * self.spec.train.accumulate)
        keep_batch(path, plan, cast(Tensors, self.parts.batches(plan)))
        return (
            f"the gradient of step {first + 1} is not finite ({skipped} such steps since the last line of the log); no "
            f"weight saw it, and its batch is kept as {path}"
        )

    def _roll_back(self, checkpoint: Path) -> int:
        """Put everything back to a checkpoint, and draw other batches from there on; return its step."""
        parts = self.parts
        self.accelerator.wait_for_everyone()
        restored = state.restore(
            checkpoint, parts.model, parts.parameters, parts.optimisation.optimizers, parts.average
        )
        self._roll_backs += 1
        parts.sampler.draw_anew(self._roll_backs)
        if self._main:
            self.folder.forget_after(int(restored["step"]))
        return int(restored["step"])

    def _report(self, done: int, interrupted: bool, progress: Progressed | None) -> int:
        """Do what is due after a step: log, checkpoint, measurement, preview; in this order nothing is lost.

        Returns:
            The steps that are done: fewer where the run went back to a checkpoint.
        """
        options = self.spec.train
        last = done == options.steps
        saving = interrupted or last or done % options.checkpoint_every == 0
        if saving or done % options.log_every == 0:
            means, back_to = self._read(done, progress)
            if back_to < done:
                return back_to
            if progress is not None and means:
                progress.losses(done, means, self.parts.optimisation.lr(done - 1, options.steps))
        if progress is not None:
            progress.advance(done)
        if saving:
            self.save(done, 0.0 if progress is None else progress.seconds)
        if not interrupted and self._monitor.due(done):
            with self._monitor.published():
                if progress is not None:
                    self._monitor.after_step(done, progress)
        return done

    def save(self, done: int, seconds: float = 0.0) -> None:
        """Write the checkpoint of a step, and remove the oldest. All processes call it, and the main one writes.

        Args:
            done: steps that are done.
            seconds: that the run took so far.

        Raises:
            CheckpointError: weights or moments hold numbers that are not finite, or the disk is full.
        """
        processes = self.accelerator.num_processes
        values = {"seconds": seconds, "before": self._before, "processes": processes, "roll_backs": self._roll_backs}
        with whole(self.parts.step):
            told = self._watchdog.look(done) if self._main else []
        write_checkpoint(self.spec, self.folder, self.parts, done, values, self._main)
        self._warn(told)

    def _warn(self, sentences: list[str]) -> None:
        for sentence in sentences if self._main else ():
            messages.print(sentence, style="yellow", soft_wrap=True)
