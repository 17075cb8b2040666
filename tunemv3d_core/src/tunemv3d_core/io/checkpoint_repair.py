"""Examination of checkpoints, file by file, and what can be done about damaged ones."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open

from tunemv3d_core.errors import CheckpointError
from tunemv3d_core.finite import all_finite
from tunemv3d_core.io.atomic import put_in_place, recover
from tunemv3d_core.io.checkpoint import check_checkpoint, run_checkpoints, write_record
from tunemv3d_core.io.json_files import read_json

DAMAGED = ".damaged"
"""What is added to the name of something that is damaged."""

RUN_LOCK = ".lock"
"""File of a run's folder that the process which trains there holds."""


@dataclass(frozen=True)
class Verdict:
    """What was found of one checkpoint.

    Attributes:
        checkpoint: name of its folder.
        samples: whether its weights are whole, so that it can be sampled.
        resumes: whether a run can go on from it as well.
        problem: what is wrong, one sentence; "" where nothing is.
        done: what was done about it.
    """

    checkpoint: str
    samples: bool
    resumes: bool
    problem: str = ""
    done: str = ""


def checkpoints_in(folder: Path) -> list[Path]:
    """Return the checkpoints of a run, oldest first, or the one that the folder is.

    Raises:
        CheckpointError: there is none.
    """
    found = run_checkpoints(folder) if (folder / "checkpoints").is_dir() else []
    if (folder / "provenance.json").is_file():
        found = [folder]
    if not found:
        raise CheckpointError(f"{folder}: no checkpoint, and no run that has one")
    return found


def examine(folder: Path) -> Verdict:
    """Read every file of a checkpoint, compare it with its checksum, and look for numbers that are not finite."""
    try:
        check_checkpoint(folder)
        _check_finite(folder / "model.safetensors")
    except CheckpointError as error:
        return Verdict(folder.name, samples=False, resumes=False, problem=_short(error, folder))
    try:
        if not (folder / "state").is_dir():
            return Verdict(folder.name, samples=True, resumes=False)
        check_checkpoint(folder, state=True)
        _check_finite(folder / "state/tensors.safetensors")
    except CheckpointError as error:
        return Verdict(folder.name, samples=True, resumes=False, problem=_short(error, folder))
    return Verdict(folder.name, samples=True, resumes=True)


def repair(folder: Path) -> list[Verdict]:
    """Put what is damaged out of the way, and clear what killed writes left; return what was found and done.

    Raises:
        CheckpointError: no checkpoint there, a run is at work, or the disk is not writable.
    """
    with _alone(folder):
        try:
            verdicts = []
            if (folder / "checkpoints").is_dir():
                swept = recover(folder / "checkpoints")
                verdicts += [Verdict(path.name, False, False, done="half-written, cleared") for path in swept]
            verdicts += [_mended(each, examine(each)) for each in checkpoints_in(folder)]
        except OSError as error:
            raise CheckpointError(f"{folder}: cannot be repaired: {error}") from error
    return verdicts


def _mended(folder: Path, found: Verdict) -> Verdict:
    if not found.problem:
        return found
    if not found.samples:
        aside = _set_aside(folder)
        return replace(found, done=f"renamed to {aside.name}")
    aside = _set_aside(folder / "state")
    record = read_json(folder / "provenance.json", CheckpointError)
    files = {name: digest for name, digest in record["files"].items() if not name.startswith("state/")}
    write_record(folder, record | {"files": files})
    return replace(found, done=f"state renamed to {aside.name}")


def _set_aside(path: Path) -> Path:
    aside = path.with_name(path.name + DAMAGED)
    shutil.rmtree(aside, ignore_errors=True)
    put_in_place(path, aside)
    return aside


def _check_finite(path: Path) -> None:
    """Look at a file's tensors one by one, so that a large one needs little memory."""
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():
                tensor = file.get_tensor(name)
                if not bool(all_finite(tensor)):
                    raise CheckpointError(f"{path}: '{name}' holds numbers that are not finite")
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from None


def _short(error: CheckpointError, folder: Path) -> str:
    return str(error).replace(f"{folder}/", "").replace(f"{folder}: ", "")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a run's lock, where the folder is a run."""
    if not (folder / RUN_LOCK).is_file():
        yield
        return
    try:
        with FileLock(folder / RUN_LOCK, timeout=0):
            yield
    except Timeout:
        raise CheckpointError(f"{folder}: a process trains in this folder; wait for its end") from None
