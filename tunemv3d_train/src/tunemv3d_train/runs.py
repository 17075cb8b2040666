"""Folder of a run: ``spec.json``, ``metrics.jsonl``, ``previews/``, ``pictures/`` (those that components
report), ``checkpoints/step-000500/``, ``tensorboard/``,
``known_words.json`` (of captions, where the 2D model says which it knows), and ``index.html``, which shows it in a
browser.
"""

import json
import math
import shutil
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.config.run_spec import RunSpec, canonical_json
from tunemv3d_core.console import messages
from tunemv3d_core.errors import CheckpointError, SpecError
from tunemv3d_core.io.atomic import make_folders, put_in_place, recover, sync, write_text
from tunemv3d_core.io.checkpoint import check_checkpoint, run_checkpoints
from tunemv3d_core.io.checkpoint_repair import DAMAGED, RUN_LOCK
from tunemv3d_core.io.json_files import parse

FREE = (
    "sample.",
    "data.cache",
    "data.workers",
    "train.steps",
    "train.checkpoint_every",
    "train.keep",
    "train.log_every",
    "train.evaluate_every",
    "train.preview_",
    "train.non_finite",
    "train.on_oom",
    "train.compile",
)
"""Prefixes of options that a resumed run may change. No step's draws depend on them; the schedule of the learning rate
follows ``train.steps``."""

FREE_OPTIONS = (".gradient_checkpointing", ".chunk_size")
"""Ends of a component's options that a resumed run may change: they cost time, and no result depends on them."""

HIGHER_IS_BETTER = ("opacity_iou",)
"""Figures of which more is better; all others are errors."""

FIRST_FILES = {RUN_LOCK, "spec.json.part"}
"""All that a run which was killed at its very beginning may have left."""


class RunFolder:
    """Folder that a run writes into.

    Args:
        path: path of the folder; need not exist.
        spec: the resolved spec.
    """

    def __init__(self, path: Path, spec: RunSpec) -> None:
        self.path = path
        self.spec = spec
        self.metrics = path / "metrics.jsonl"
        self.previews = path / "previews"
        self.pictures = path / "pictures"
        self.known_words = path / "known_words.json"
        self._damaged: list[Path] = []
        self._lock = FileLock(path / RUN_LOCK)

    def check(self, resume: bool) -> Path | None:
        """Return the checkpoint to resume from, if any: the newest that is whole and undamaged. Writes nothing.

        Raises:
            SpecError: another run is in the folder, or this one is and ``resume`` was not asked for, or there is
                nothing to resume, or it is longer than the spec's.
            CheckpointError: every checkpoint is damaged.
        """
        recorded = self.path / "spec.json"
        if recorded.is_file():
            self._check_same(recorded)
        elif self.path.exists() and not (self.path.is_dir() and {f.name for f in self.path.iterdir()} <= FIRST_FILES):
            raise SpecError(f"{self.path}: not empty and not a run (no spec.json); choose another folder with --out")
        whole = run_checkpoints(self.path)
        if whole and not resume:
            raise SpecError(
                f"{self.path}: holds this run already, up to {whole[-1].name}; "
                "continue it with --resume, or choose another folder with --out"
            )
        if not resume:
            return None
        if not whole:
            raise SpecError(f"{self.path}: no whole checkpoint to resume from; start without --resume")
        good = self._newest_good(whole)
        if step_of(good) > self.spec.train.steps:
            raise SpecError(
                f"{self.path}: has done {step_of(good)} steps, more than train.steps {self.spec.train.steps}; "
                "ask for more with --steps"
            )
        return good

    def _newest_good(self, whole: list[Path]) -> Path:
        """Return the newest undamaged checkpoint; those that it passes over are remembered."""
        for folder in reversed(whole):
            try:
                check_checkpoint(folder, state=True)
            except CheckpointError as error:
                self._damaged.append(folder)
                reason = error
                continue
            return folder
        raise CheckpointError(
            f"{reason}. No other checkpoint of this run is whole: start anew in another folder, with --out"
        )

    def lock(self) -> None:
        """Keep other processes out of the folder, which exists, until ``release`` or the end of this one.

        Raises:
            CheckpointError: it cannot be written.
            SpecError: another process is at work in it.
        """
        if self._lock.is_locked:
            return
        try:
            # The system gives it back when the process ends, however it ends.
            self._lock.acquire(timeout=0)
        except Timeout:
            raise SpecError(
                f"{self.path}: another process trains in this folder; wait for its end, or choose another with --out"
            ) from None
        except OSError as error:
            raise CheckpointError(f"{self.path}: cannot be written: {error}") from error

    def claim(self, resume_from: Path | None) -> None:
        """Create the folder, lock it, and clear what an earlier run left: its log's end, half-written files.

        Raises:
            CheckpointError: it cannot be written.
            SpecError: another process is at work in it.
        """
        try:
            make_folders(self.path, durable=True)
            self.lock()
            self._clear()
            write_text(self.path / "spec.json", canonical_json(self.spec) + "\n", durable=True)
            self.forget_after(step_of(resume_from) if resume_from else -1)
            # A kill between a checkpoint and the removal of an older one left one too many.
            self.prune(self.spec.train.keep)
        except OSError as error:
            raise CheckpointError(f"{self.path}: cannot be written: {error}") from error

    def release(self) -> None:
        """Let others work in the folder."""
        self._lock.release()

    def _clear(self) -> None:
        """Remove what killed writes left, and put damaged checkpoints out of the way."""
        for folder in (self.path, self.path / "checkpoints", self.previews, self.pictures):
            recover(folder)
        for folder in self._damaged:
            aside = folder.with_name(folder.name + DAMAGED)
            shutil.rmtree(aside, ignore_errors=True)
            put_in_place(folder, aside)
            messages.print(f"{folder.name} is damaged and is kept as {aside.name}", style="yellow", soft_wrap=True)

    def _check_same(self, recorded: Path) -> None:
        old, new = (_flat(json.loads(canonical_json(spec))) for spec in (load_spec(recorded, saved=True), self.spec))
        differing = (key for key in old.keys() | new.keys() if old.get(key, ...) != new.get(key, ...))
        place = {f"model.backbone.{name}" for name in ("pretrained", *self.spec.model.backbone.pretrained_options)}
        held = (key for key in differing if not key.startswith(FREE) and not key.endswith(FREE_OPTIONS))
        changed = sorted(key for key in held if key not in place)
        if changed:
            shown = ", ".join(changed[:5]) + (" ..." if len(changed) > 5 else "")
            raise SpecError(
                f"{self.path}: holds another run; its spec differs in {shown}. "
                "Choose another folder with --out, or give the same spec and settings"
            )

    def checkpoint(self, step: int) -> Path:
        """Return the folder of a step's checkpoint."""
        return self.path / "checkpoints" / f"step-{step:06d}"

    def preview(self, step: int) -> Path:
        """Return the file of a step's preview."""
        return self.previews / f"step-{step:06d}.png"

    def picture(self, step: int, name: str) -> Path:
        """Return the file of a picture that a component or a loss reports at a step, ``PLACE/NAME``."""
        return self.pictures / f"step-{step:06d}-{name.replace('/', '-')}.png"

    def log(self, record: dict[str, Any]) -> None:
        """Append one line to ``metrics.jsonl``.

        Raises:
            CheckpointError: the disk is full or not writable.
        """
        try:
            with self.metrics.open("a", encoding="utf-8", newline="\n") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise CheckpointError(f"{self.metrics}: cannot be written: {error}") from error

    def sync_log(self) -> None:
        """Wait until the log is on the disk: a checkpoint must not outlive the figures of the steps before it.

        Raises:
            CheckpointError: the disk failed.
        """
        try:
            if self.metrics.is_file():
                sync(self.metrics)
                sync(self.path)
        except OSError as error:
            raise CheckpointError(f"{self.metrics}: cannot be written: {error}") from error

    def figures(self, step: int, prefix: str) -> dict[str, float]:
        """Return the figures that the log has of a step, those whose names begin with ``prefix``, without it."""
        lines = self.metrics.read_text(encoding="utf-8").splitlines() if self.metrics.is_file() else []
        of_step = [parse(line, finite=False) for line in lines if _step_in(line) == step]
        return {k.removeprefix(prefix): v for record in of_step for k, v in record.items() if k.startswith(prefix)}

    def best(self) -> Path | None:
        """Return the best of the measured checkpoints by the spec's ``train.keep_best``; of equals the newest."""
        name = self.spec.train.keep_best
        if not name:
            return None
        measured: dict[Path, float] = {}
        for folder in run_checkpoints(self.path):
            figures = self.figures(step_of(folder), "held_out/") or self.figures(step_of(folder), "trained_on/")
            if math.isfinite(value := figures.get(name, math.nan)):
                measured[folder] = -value if name in HIGHER_IS_BETTER else value
        return min(reversed(measured), key=measured.__getitem__, default=None)

    def prune(self, keep: int) -> None:
        """Remove all but the last ``keep`` checkpoints and the best one."""
        best = self.best()
        for folder in run_checkpoints(self.path)[:-keep]:
            if folder == best:
                continue
            # Under a name that is no checkpoint's: half removed, it would count as a damaged one.
            leaving = folder.with_name(folder.name + ".part")
            put_in_place(folder, leaving)
            shutil.rmtree(leaving, ignore_errors=True)

    def forget_after(self, step: int) -> None:
        """Drop log lines that a resumed run will write again."""
        if not self.metrics.is_file():
            return
        lines = self.metrics.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if _step_in(line) <= step]
        write_text(self.metrics, "".join(line + "\n" for line in kept), durable=True)


def step_of(folder: Path) -> int:
    """Return the step in a checkpoint folder's name."""
    return int(folder.name.removeprefix("step-"))


def _step_in(line: str) -> float:
    """Return a log line's step; infinite for a line cut by an interruption."""
    try:
        return int(parse(line, finite=False)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested objects to one level: ``{"train.steps": 5}``."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {prefix + key: value}
    return flat
