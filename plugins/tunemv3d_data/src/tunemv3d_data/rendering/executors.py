"""Executors, which work on objects in this process, in processes of this machine, or on a Ray cluster.

An executor takes objects one by one as it gets free, so that a job of any length needs the memory of a short one.
A worker that dies or hangs costs the object that it was at, and no other.
"""

import os
import signal
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, TimeoutError, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import chain, islice
from multiprocessing import get_context, parent_process, resource_tracker
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import Any, Protocol

import torch
from pebble import ProcessExpired, ProcessPool

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.handing_over import handed_over, taken_over
from tunemv3d_data.objects import SourceObject
from tunemv3d_data.rendering.settings import Result

Work = Callable[[SourceObject], tuple[list[Result], int]]
"""What is done with an object; may be pickled. Its results, and the worker's largest memory in bytes."""

OBJECTS_A_WORKER = 500
"""Then a fresh one takes its place: native libraries leak."""

STARTING = 60.0
"""Seconds that a pool's workers may take until they begin."""

BROKEN_POOLS = 3
"""Pools that may break one after another, without a single outcome between them."""


@dataclass(frozen=True)
class Lost:
    """An object whose worker did not come back."""

    cause: str
    reason: str


Outcome = tuple[list[Result], int] | Lost
Outcomes = Generator[tuple[SourceObject, Outcome], None, None]


def available_cpus() -> int:
    """Count the CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Executor(Protocol):
    """Run ``work`` on every object and yield outcomes in any order."""

    def run(self, work: Work, sources: Iterable[SourceObject]) -> Outcomes:
        """Work through ``sources``; errors that ``work`` raises end it. Closing the iterator ends the workers."""
        ...


class Here:
    """This process, one object after another; without protection from meshes that crash or hang."""

    def run(self, work: Work, sources: Iterable[SourceObject]) -> Outcomes:
        """See ``Executor``."""
        for source in sources:
            yield source, work(source)


@dataclass(frozen=True)
class Processes:
    """Processes of this machine.

    Attributes:
        workers: how many.
        limit: seconds that an object may take.
    """

    workers: int
    limit: float

    def run(self, work: Work, sources: Iterable[SourceObject]) -> Outcomes:
        """See ``Executor``."""
        waiting = iter(sources)
        first = list(islice(waiting, self.workers))
        waiting, broken = chain(first, waiting), 0
        with handed_over(work) as file:
            while broken < BROKEN_POOLS:
                left: list[SourceObject] = []
                for source, outcome in self._one_pool(len(first), file, waiting, left) if first else ():
                    broken = 0
                    yield source, outcome
                if not left:
                    return
                waiting, broken = chain(left, waiting), broken + 1
        said = "workers die before they begin with an object, perhaps for want of memory; finished objects are kept"
        raise DatasetError(f"{said}: run it again, with fewer --workers where memory is short")

    def _one_pool(
        self, workers: int, work: Path, waiting: Iterator[SourceObject], left: list[SourceObject]
    ) -> Outcomes:
        """Work through ``waiting`` for as long as the pool stands; ``left`` gets what it was given in vain.

        Pebble gives up where a worker dies while none has begun with an object. A pool that is silent for longer than
        an object may take has broken too.
        """
        pool = _start_pool(workers, work)
        running: dict[Future[Any], SourceObject] = {}
        try:
            while not left:
                for source in islice(waiting, 2 * workers - len(running)):
                    try:
                        running[pool.schedule(_work, (source,), timeout=self.limit)] = source
                    except RuntimeError:  # the pool broke meanwhile
                        left.append(source)
                if not running:
                    return
                done = wait(running, self.limit + STARTING, return_when=FIRST_COMPLETED).done
                if (
                    not done
                ):  # a worker that was killed while it held the queue's lock leaves the others waiting for good
                    break
                for future in done:
                    source = running.pop(future)
                    try:
                        outcome = self._outcome(future)
                    except BrokenProcessPool:
                        left.append(source)
                    else:
                        yield source, outcome
            left += running.values()
        finally:
            pool.stop()  # type: ignore[no-untyped-call]
            pool.join()

    def _outcome(self, future: "Future[Any]") -> Outcome:
        try:
            result: tuple[list[Result], int] = future.result()
            return result
        except TimeoutError:
            return _too_slow(self.limit)
        except ProcessExpired as error:
            how = f"signal {-error.exitcode}" if error.exitcode < 0 else f"exit code {error.exitcode}"
            return Lost("worker died", f"its process ended with {how}; where memory is short, use fewer --workers")


@dataclass(frozen=True)
class RayCluster:
    """Tasks on the Ray cluster of RAY_ADDRESS, or on a local one. All its machines must see source and dataset.

    Attributes:
        workers: tasks at a time; None: as many as the cluster has CPUs.
        limit: seconds that an object may take, from when it is handed to the cluster.
    """

    workers: int | None
    limit: float

    def run(self, work: Work, sources: Iterable[SourceObject]) -> Outcomes:
        """See ``Executor``."""
        ray = _import_ray()
        ray.init(ignore_reinit_error=True, log_to_driver=False, configure_logging=False)
        workers = self.workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        task = ray.remote(num_cpus=1, max_retries=0, max_calls=OBJECTS_A_WORKER)(_call)
        waiting, shared = iter(sources), ray.put(work)
        running: dict[Any, tuple[SourceObject, float]] = {}
        try:
            while True:
                for source in islice(waiting, workers - len(running)):
                    running[task.remote(shared, source)] = source, monotonic() + self.limit
                if not running:
                    return
                done, _ = ray.wait(list(running), timeout=1.0)
                for reference in done:
                    yield running.pop(reference)[0], _ray_outcome(ray, reference)
                for reference in [key for key, (_, end) in running.items() if monotonic() > end]:
                    ray.cancel(reference, force=True)
                    yield running.pop(reference)[0], _too_slow(self.limit)
        finally:
            for reference in running:
                ray.cancel(reference, force=True)
            ray.shutdown()


def _import_ray() -> Any:
    try:
        import ray
    except ImportError:
        raise DatasetError("--executor ray: Ray is not installed; pip install 'tunemv3d-data[ray]'") from None
    return ray


def _ray_outcome(ray: Any, reference: Any) -> Outcome:
    try:
        outcome: tuple[list[Result], int] = ray.get(reference)
        return outcome
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        return Lost("worker died", f"its process ended: {type(error).__name__}")


def _too_slow(limit: float) -> Lost:
    return Lost("time limit", f"took longer than the limit of {limit:g} s; --limit sets it")


_worker: Work | None = None


def _start_pool(workers: int, work: Path) -> ProcessPool:
    """A running pool whose processes never see Ctrl-C, not even while they start: it is the parent's to end them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows: they ignore it once they have started
        return _pool(workers, work)
    resource_tracker.ensure_running()  # would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return _pool(workers, work)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _pool(workers: int, work: Path) -> ProcessPool:
    pool = ProcessPool(workers, OBJECTS_A_WORKER, _start_worker, (work,), get_context("spawn"))
    _ = pool.active  # looking at it starts it
    return pool


def _start_worker(work: Path) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    _worker = taken_over(work)


def _end_with_parent() -> None:
    """A worker whose parent was killed would finish its object, or hang in it for ever."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _work(source: SourceObject) -> tuple[list[Result], int]:
    assert _worker is not None
    return _worker(source)


def _call(work: Work, source: SourceObject) -> tuple[list[Result], int]:
    """A task on Ray."""
    torch.set_num_threads(1)
    return work(source)
