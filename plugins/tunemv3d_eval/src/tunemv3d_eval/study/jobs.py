"""The jobs of a study, each a command in a process of its own, in the order in which they should be done."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_eval.study.plan import Evaluation, Study, training_overrides

TRAIN = (sys.executable, "-m", "tunemv3d_train")
"""Start of a command that trains: of another package, which is found when it runs."""

EVALUATE = (sys.executable, "-c", "from tunemv3d_core.cli.main import main; main()", "evaluate")
"""Start of a command that evaluates."""


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
        evaluation: name of the evaluation; None where it trains.
        steps: of the checkpoints that it evaluates, in the order in which its command names them.
    """

    name: str
    variant: str
    seed: int
    command: tuple[str, ...]
    product: Path
    after: str | None = None
    evaluation: str | None = None
    steps: tuple[int, ...] = ()

    def ready_command(self) -> tuple[str, ...]:
        """Return the command as it is started now: a run that has a checkpoint is resumed."""
        if self.evaluation is None and any(self.product.parent.glob("step-*/provenance.json")):
            return (*self.command, "--resume")
        return self.command


def jobs_of(study: Study, specs: dict[str, RunSpec], out: Path) -> list[Job]:
    """List a study's jobs by its order: evaluation, variant, seed; each run is trained before its first evaluation.

    A checkpoint that was given is evaluated once for each evaluation that names its variant, at those of the steps that
    its run still has.

    Raises:
        TuneMV3DError: a run that was given has none of the steps.
    """
    jobs: dict[str, Job] = {}
    for name, evaluation in study.evaluations.items():
        for variant in study.variants_of(evaluation):
            given = study.variants[variant].checkpoint
            if given is not None:
                job = _of_given(study, name, variant, specs[variant], given, out)
                jobs[job.name] = job
                continue
            for seed in evaluation.seeds:
                training = _training(study, variant, seed, out)
                jobs.setdefault(training.name, training)
                steps = study.steps_of(evaluation)
                folders = [training.product.with_name(f"step-{step:06d}") for step in steps]
                job = _evaluating(name, evaluation, variant, seed, dict(zip(steps, folders, strict=True)), out)
                jobs[job.name] = job
    return list(jobs.values())


def _training(study: Study, variant: str, seed: int, out: Path) -> Job:
    chosen = study.variants[variant]
    folder = run_folder(out, variant, seed)
    sets = [word for each in training_overrides(study, chosen, seed) for word in ("--set", each)]
    command = (*TRAIN, chosen.spec or "", "--out", str(folder), *sets)
    return Job(f"train-{folder.name}", variant, seed, command, folder / "checkpoints" / f"step-{study.steps:06d}")


def _evaluating(
    name: str,
    evaluation: Evaluation,
    variant: str,
    seed: int,
    checkpoints: dict[int, Path],
    out: Path,
    given: bool = False,
) -> Job:
    folder = out / "evaluations" / name / run_folder(out, variant, seed).name
    command = [*EVALUATE, *map(str, checkpoints.values()), "--protocol", evaluation.protocol, "--out", str(folder)]
    if evaluation.consistency:
        command += ["--consistency", evaluation.consistency]
    after = None if given else f"train-{folder.name}"
    product, steps = folder / "evaluate.json", tuple(checkpoints)
    return Job(f"{name}-{folder.name}", variant, seed, tuple(command), product, after, name, steps)


def _of_given(study: Study, name: str, variant: str, spec: RunSpec, given: str, out: Path) -> Job:
    # Heavy: torch. Only where a checkpoint is among the variants.
    from tunemv3d_core.io.checkpoint import find_checkpoint, run_checkpoints

    evaluation = study.evaluations[name]
    kept = {int(path.name[5:]): path for path in run_checkpoints(Path(given))}
    wanted = {step: kept[step] for step in study.steps_of(evaluation) if step in kept}
    if kept and not wanted:
        has, asked = ", ".join(map(str, kept)), ", ".join(map(str, study.steps_of(evaluation)))
        raise TuneMV3DError(
            f"variant '{variant}': {given} has checkpoints of steps {has}; evaluation '{name}' asks for {asked}"
        )
    checkpoints = wanted or {spec.train.steps: find_checkpoint(given)}
    return _evaluating(name, evaluation, variant, spec.seed, checkpoints, out, given=True)


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
                record = json.loads(line)
            except ValueError:
                continue
            yield record

    def last(self, job: Job) -> dict[str, Any] | None:
        """Return the last try of a job as it is asked for now."""
        tries = [each for each in self if each["job"] == job.name and tuple(each["command"]) == job.command]
        return tries[-1] if tries else None

    def is_done(self, job: Job) -> bool:
        """Return whether a job was done, by the command that is asked for now, and its product is still there."""
        last = self.last(job)
        return last is not None and last["state"] == "done" and job.product.exists()
