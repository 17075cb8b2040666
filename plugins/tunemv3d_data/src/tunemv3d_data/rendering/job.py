"""The render job: meshes in, a multi-view dataset out. Finished objects are never redone.

An object is rendered into ``.unfinished`` and its folder renamed to ``objects/<id>`` when it is whole, so a folder
there is finished whatever kills the job. What describes the dataset is made from these folders at the end. Hence the
same dataset, byte for byte, however often a job was interrupted and however many processes and shards shared it.
"""

import shutil
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from tunemv3d_core.plugins.registry import registry
from tunemv3d_data.notes import NoteCounts
from tunemv3d_data.objects import SourceObject
from tunemv3d_data.rendering.executors import Executor, Here, Lost
from tunemv3d_data.rendering.manifest import UNFINISHED, claim, describe, keep, keep_settings
from tunemv3d_data.rendering.names import unusable
from tunemv3d_data.rendering.one_object import Work
from tunemv3d_data.rendering.settings import JobShard, RenderJob, Result, writing

ATTEMPTS = 8
"""To make a folder that no other run removes before it is locked."""


@dataclass
class Report:
    """Report of one run.

    Attributes:
        results: of this shard's objects, in the order of the source.
        peak: largest memory of a worker in bytes, 0 where none ran or the system does not tell.
        notes: on all finished objects of the dataset, earlier runs' and other shards' included.
    """

    results: list[Result] = field(default_factory=list)
    peak: int = 0
    notes: NoteCounts = field(default_factory=NoteCounts)

    def of(self, *status: str) -> list[Result]:
        """Select the results with one of the given statuses."""
        return [result for result in self.results if result.status in status]

    def counts(self) -> dict[str, int]:
        """Count the results by status."""
        return {status: len(self.of(status)) for status in ("rendered", "kept", "refused", "failed")}

    def causes(self) -> dict[str, int]:
        """Count the objects without pictures by cause, the commonest first."""
        return dict(Counter(result.cause for result in self.results if result.cause).most_common())


def run_job(
    job: RenderJob,
    sources: Sequence[SourceObject],
    executor: Executor | None = None,
    shard: JobShard = JobShard(),  # noqa: B008 - frozen
    progress: Callable[[int, int], object] = lambda finished, all_: None,
) -> Report:
    """Render all objects of a shard, then describe the dataset: manifest, attribution, report.

    Args:
        job: what to make.
        sources: the objects, the same for all shards.
        executor: where to work; None: in this process.
        shard: of all objects, those to render now.
        progress: called with how many objects are settled, and of how many: first with those that were finished
            before, then after every object.

    Raises:
        ComponentError: there is no such renderer, or it cannot be built here.
        OutputError: the folder cannot be written; finished objects are kept.
        DatasetError: the folder holds something else, or a dataset made with other settings.
    """
    registry().get("mesh_renderer", job.renderer)
    with _room(job, shard) as scratch:
        try:
            report = _work_through(job, scratch, sources, executor or Here(), shard, progress)
        except BaseException:
            with suppress(Exception):
                describe(job, scratch)
            raise
        with writing(job.out):
            report.notes = describe(job, scratch)
    return report


@contextmanager
def _room(job: RenderJob, shard: JobShard) -> Iterator[Path]:
    """A folder for unfinished work, new in every run, in place of those that killed runs of this shard left.

    It is locked while this run lives: that is how others tell it from what a killed run left.
    """
    room = job.out / UNFINISHED
    with ExitStack() as held:
        with writing(job.out):
            claim(job)
            scratch, lock = _scratch(room, shard)
            held.callback(_remove, scratch)
            if lock:
                held.callback(lock.release)
            keep_settings(job, scratch)
        for left in set(room.glob("*" if shard.count == 1 else f"{shard}-*")) - {scratch}:
            if lock := _locked(left):
                shutil.rmtree(left, ignore_errors=True)
                lock.release()
                if sys.platform == "win32":  # which removes no file that is open, such as the lock
                    shutil.rmtree(left, ignore_errors=True)
        yield scratch


def _scratch(room: Path, shard: JobShard) -> tuple[Path, FileLock | None]:
    """Make a folder for unfinished work and lock it; where the disk knows no locks, go on without.

    Until it is locked, another run takes it for one that a killed run left, and removes it: then another is made.
    """
    for _ in range(ATTEMPTS):
        scratch = room / f"{shard}-{uuid.uuid4().hex[:8]}"
        with suppress(FileNotFoundError):  # another run ended, and removed the room in which this was to be made
            scratch.mkdir(parents=True)
        if lock := _locked(scratch):
            return scratch, lock
        _remove(scratch)
    scratch.mkdir(parents=True)
    return scratch, None


def _locked(scratch: Path) -> FileLock | None:
    """Hold a folder of unfinished work; None where a run that lives holds it, or the disk knows no locks."""
    lock = FileLock(scratch / "lock")
    try:
        lock.acquire(blocking=False)
    except (OSError, NotImplementedError, Timeout):
        return None
    return lock


def _remove(scratch: Path) -> None:
    shutil.rmtree(scratch, ignore_errors=True)
    with suppress(OSError):
        scratch.parent.rmdir()


def _work_through(
    job: RenderJob,
    scratch: Path,
    sources: Sequence[SourceObject],
    executor: Executor,
    shard: JobShard,
    progress: Callable[[int, int], object],
) -> Report:
    faults = unusable(job, sources)
    mine = range(shard.index, len(sources), shard.count)
    found: dict[int, list[Result]] = {}
    for place in mine:
        id_ = sources[place].id
        if place in faults:
            found[place] = [Result(id_, "refused", "name", faults[place])]
        elif all(job.is_finished(name) for name in job.names_of(id_)):
            found[place] = [Result(name, "kept") for name in job.names_of(id_)]
    for results in found.values():
        _keep_all(job, scratch, results)
    progress(len(found), len(mine))
    places = {sources[place].id: place for place in mine if place not in found}
    report = Report()
    with closing(executor.run(Work(job, scratch), (sources[place] for place in places.values()))) as outcomes:
        for source, outcome in outcomes:
            if isinstance(outcome, Lost):
                results = _lost(job, source.id, outcome)
            else:
                results, peak = outcome
                report.peak = max(report.peak, peak)
            _keep_all(job, scratch, results)
            found[places[source.id]] = results
            progress(len(found), len(mine))
    report.results = [result for place in sorted(found) for result in found[place]]
    return report


def _lost(job: RenderJob, id_: str, lost: Lost) -> list[Result]:
    """The results of an object whose worker did not come back: variants that it had finished are whole."""
    return [
        Result(name, "rendered") if job.is_finished(name) else Result(name, "failed", lost.cause, lost.reason)
        for name in job.names_of(id_)
    ]


def _keep_all(job: RenderJob, scratch: Path, results: Sequence[Result]) -> None:
    with writing(job.out):
        for result in results:
            keep(job, scratch, result)
