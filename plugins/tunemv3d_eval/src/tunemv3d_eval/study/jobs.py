"""The jobs of a study, each a command in a process of its own, in the order in which they should be done."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.io.json_files import parse
from tunemv3d_eval.study.plan import Evaluation, Study, training_overrides

TRAIN = ("-m", "tunemv3d_train")
"""Python's arguments that train: of another package, which is found when it runs."""

EVALUATE = ("-c", "from tunemv3d_core.cli.main import main; main()", "evaluate")
"""Python's arguments that evaluate."""


@dataclass(frozen=True)
class Job:
    """One command.

    Attributes:
        name: of the job and its log.
        variant: what it works on.
        seed: the training seed.
        command: words of the command; training goes on where it was.
        product: file or folder that is there when it is done.
        after: name of the job whose product it needs, if any.
        evaluations: names of the evaluations that look at what it finds; none where it trains.
        steps: of the checkpoints that it evaluates, in the order in which its command names them.
    """

    name: str
    variant: str
    seed: int
    command: tuple[str, ...]
    product: Path
    after: str | None = None
    evaluations: tuple[str, ...] = ()
    steps: tuple[int, ...] = ()

    def ready_command(self) -> tuple[str, ...]:
        """Return the command as it is started now: a run that has a checkpoint is resumed."""
        if not self.evaluations and any(self.product.parent.glob("step-*/provenance.json")):
            return (*self.command, "--resume")
        return self.command


def jobs_of(study: Study, specs: dict[str, RunSpec], out: Path) -> list[Job]:
    """List a study's jobs by its order: evaluation, seed, variant; each run is trained before its first evaluation.

    What several evaluations ask for alike is done once. A checkpoint that was given is evaluated once, at those of the
    steps that its run still has.

    Raises:
        TuneMV3DError: a run that was given has none of the steps.
    """
    jobs: dict[Any, Job] = {}
    for name, evaluation in study.evaluations.items():
        for seed in evaluation.seeds:
            for variant in study.variants_of(evaluation):
                for job in _of_variant(study, name, variant, seed, specs[variant], out):
                    how = (evaluation.protocol, evaluation.consistency, evaluation.controls)
                    alike = (job.variant, job.seed, job.steps, how)
                    key = alike if job.evaluations else job.name
                    known = jobs.setdefault(key, job)
                    names = dict.fromkeys([*known.evaluations, *job.evaluations])
                    jobs[key] = replace(known, evaluations=tuple(names))
    return list(jobs.values())


def _of_variant(study: Study, name: str, variant: str, seed: int, spec: RunSpec, out: Path) -> Iterator[Job]:
    """The jobs of a variant in one evaluation; a checkpoint has its own seed."""
    evaluation, given = study.evaluations[name], study.variants[variant].checkpoint
    steps = study.steps_of(evaluation)
    if given is not None:
        checkpoints = _given_checkpoints(variant, given, steps, spec.train.steps)
        yield _evaluating(name, evaluation, variant, spec.seed, checkpoints, out)
        return
    training = _training(study, variant, seed, out)
    checkpoints = {step: training.product.with_name(f"step-{step:06d}") for step in steps}
    yield training
    yield replace(_evaluating(name, evaluation, variant, seed, checkpoints, out), after=training.name)


def _training(study: Study, variant: str, seed: int, out: Path) -> Job:
    chosen = study.variants[variant]
    folder = run_folder(out, variant, seed)
    sets = [word for each in training_overrides(study, chosen, seed) for word in ("--set", each)]
    command = (sys.executable, *TRAIN, chosen.spec or "", "--out", str(folder), *sets)
    return Job(f"train-{folder.name}", variant, seed, command, folder / "checkpoints" / f"step-{study.steps:06d}")


def _evaluating(
    name: str, evaluation: Evaluation, variant: str, seed: int, checkpoints: dict[int, Path], out: Path
) -> Job:
    folder = out / "evaluations" / name / run_folder(out, variant, seed).name
    command = [
        sys.executable,
        *EVALUATE,
        *map(str, checkpoints.values()),
        "--protocol",
        evaluation.protocol,
        "--out",
        str(folder),
    ]
    if evaluation.consistency:
        command += ["--consistency", evaluation.consistency]
    if evaluation.controls is not None:
        command += ["--controls" if evaluation.controls else "--no-controls"]
    product, steps = folder / "evaluate.json", tuple(checkpoints)
    return Job(f"{name}-{folder.name}", variant, seed, tuple(command), product, evaluations=(name,), steps=steps)


def _given_checkpoints(variant: str, given: str, steps: list[int], trained: int) -> dict[int, Path]:
    """Folders of a run's checkpoints at those steps that it has, or of a single checkpoint, ``trained`` steps old."""
    # Heavy: torch. Only where a checkpoint is among the variants.
    from tunemv3d_core.io.checkpoint import find_checkpoint, run_checkpoints

    kept = {int(path.name[5:]): path for path in run_checkpoints(Path(given))}
    wanted = {step: kept[step] for step in steps if step in kept}
    if kept and not wanted:
        has, asked = ", ".join(map(str, kept)), ", ".join(map(str, steps))
        raise TuneMV3DError(f"variant '{variant}': {given} has checkpoints of steps {has}; asked for are {asked}")
    return wanted or {trained: find_checkpoint(given)}


def run_folder(out: Path, variant: str, seed: int) -> Path:
    """Return the folder of a variant's run."""
    return out / "runs" / f"{variant}-seed{seed}"


class Records:
    """What became of jobs, a line each try in ``jobs.jsonl``.

    Args:
        path: of the file; need not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, record: dict[str, Any]) -> None:
        """Append a try."""
        with self._path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(json.dumps(record) + "\n")

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """All tries, oldest first; a line that was cut by a kill is left out."""
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.is_file() else []
        for line in lines:
            try:
                record = parse(line, finite=False)
            except ValueError:
                continue
            yield record

    def last(self, job: Job) -> dict[str, Any] | None:
        """Return the last try of a job as it is asked for now, by whatever Python."""
        tries = [each for each in self if each["job"] == job.name and each["command"][1:] == list(job.command[1:])]
        return tries[-1] if tries else None

    def was_done(self, job: Job) -> bool:
        """Return whether a job was done by the command that is asked for now."""
        last = self.last(job)
        return last is not None and last["state"] == "done"

    def undone(self, jobs: list[Job]) -> list[Job]:
        """Return the jobs that are left to do.

        Their products must be there, but for runs that nothing needs any more: what was evaluated is not trained again.
        """
        there = {job.name: self.was_done(job) and job.product.exists() for job in jobs}
        trained = {job.name for job in jobs if self.was_done(job)}
        open_ = [
            each for each in jobs if each.evaluations and not (there[each.name] and each.after in {*trained, None})
        ]
        needed = {job.after for job in open_}
        return [job for job in jobs if job in open_ or (job.name in needed and not there[job.name])]
