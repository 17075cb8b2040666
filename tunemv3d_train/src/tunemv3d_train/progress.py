"""Outlets of a run's figures: a progress bar or lines for people, ``metrics.jsonl`` and TensorBoard."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tunemv3d_core.console import messages
from tunemv3d_train.events import EventFile
from tunemv3d_train.runs import RunFolder


class Progressed:
    """Shows and logs a run's steps; a context manager.

    Args:
        folder: of the run.
        steps: of the whole run.
        start: steps that are done.
        seconds: that they took.
    """

    def __init__(self, folder: RunFolder, steps: int, start: int, seconds: float) -> None:
        self._folder, self._start = folder, start
        self._begun = time.perf_counter() - seconds
        self._last = (start, time.perf_counter())
        self._events = EventFile(folder.path / "tensorboard", purge_step=start + 1)
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[losses]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=messages,
        )
        self._task = self._bar.add_task("training", total=steps, completed=start, losses="")

    def __enter__(self) -> "Progressed":
        if messages.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    @property
    def seconds(self) -> float:
        """Since the run's beginning, over all its parts."""
        return time.perf_counter() - self._begun

    def advance(self, done: int) -> None:
        """A step is done."""
        self._bar.update(self._task, completed=done)

    def losses(self, done: int, losses: Mapping[str, float], lr: float) -> None:
        """Log the mean losses since the last call."""
        now = time.perf_counter()
        rate = (done - self._last[0]) / max(1e-9, now - self._last[1])
        self._last = (done, now)
        self.record(done, {**losses, "lr": lr, "steps_per_s": rate})
        shown = " ".join(f"{name} {value:.4f}" for name, value in losses.items() if "/" not in name)
        self._bar.update(self._task, losses=shown)
        if not messages.is_terminal:
            messages.print(f"step {done}  {shown}  {rate:.2f} steps/s", soft_wrap=True)

    def record(self, done: int, figures: Mapping[str, float], prefix: str = "") -> None:
        """One line of ``metrics.jsonl`` and TensorBoard's scalars."""
        named: dict[str, Any] = {prefix + name: round(value, 8) for name, value in figures.items()}
        self._folder.log({"step": done, "seconds": round(self.seconds, 3), **named})
        self._events.scalars(done, named)

    def picture(self, done: int, path: Path, name: str = "preview") -> None:
        """A step's picture under its name, for TensorBoard."""
        self._events.picture(done, name, path)

    def leave_out(self, seconds: float) -> None:
        """Leave so many seconds since the last step out of the steps per second."""
        step, time_then = self._last
        self._last = (step, time_then + seconds)

    def restart_clock(self, done: int) -> None:
        """Leave what came since the last step (a preview, a measurement) out of the steps per second."""
        self._last = (done, time.perf_counter())
