"""Jobs one after the other: a bounded queue, a thread that works it off, and results that are removed in time."""

import secrets
import shutil
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_serve.order import JobReport, Order, State


class QueueFullError(TuneMV3DError):
    """As many jobs wait as may."""


class Cancelled(Exception):
    """Raised inside a job's work, after the step at work, when it was cancelled."""


@dataclass
class Job:
    """One order on its way.

    Attributes:
        order: what to make.
        steps: of the whole sampling.
        folder: that gets its files.
        id: nobody can guess it.
        state: where it is.
        step: steps done.
        picture: its latest picture as PNG; empty before the first.
        files: by the names under which they are fetched.
        notes: sentences on what is not as it was asked for.
        error: a sentence on why it failed.
        stop: set when it should end.
    """

    order: Order
    steps: int
    folder: Path
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    state: State = "waiting"
    step: int = 0
    picture: bytes = b""
    files: dict[str, Path] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    error: str = ""
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def ended(self) -> bool:
        """Tell whether nothing more will happen to it."""
        return self.state in ("done", "failed", "cancelled")

    def go_on(self) -> None:
        """Raise ``Cancelled`` where somebody has cancelled it."""
        if self.stop.is_set():
            raise Cancelled


class JobQueue:
    """Works off jobs in the order in which they came, one at a time.

    Args:
        work: makes a job's object; sets its ``step``, ``picture``, ``files`` and ``notes``.
        folder: for the jobs' files.
        waiting: jobs that may wait.
        keep: ended jobs that are kept; older ones are removed with their files.
    """

    def __init__(self, work: Callable[[Job], None], folder: Path, waiting: int = 16, keep: int = 20) -> None:
        self._work, self._folder, self._limit, self._keep = work, folder, waiting, keep
        self._jobs: dict[str, Job] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="sampling", daemon=True)
        self._thread.start()

    def add(self, order: Order, steps: int) -> Job:
        """Put an order at the queue's end.

        Args:
            order: what to make.
            steps: of its sampling.

        Raises:
            QueueFullError: as many wait as may.
        """
        with self._changed:
            if len(self._waiting()) >= self._limit:
                raise QueueFullError(f"{self._limit} jobs are waiting already: try again when some are done")
            job = Job(order, steps, self._folder)
            job.folder = self._folder / job.id
            self._jobs[job.id] = job
            self._changed.notify_all()
        return job

    def find(self, name: str) -> Job:
        """Return a job by its id.

        Raises:
            KeyError: there is none.
        """
        with self._changed:
            return self._jobs[name]

    def end(self, name: str) -> Job:
        """Cancel a job that waits or runs, or remove one that has ended with its files.

        A running one ends after the step at work.

        Raises:
            KeyError: there is none.
        """
        with self._changed:
            job = self._jobs[name]
            if job.ended:
                self._remove(job)
            elif job.state == "waiting":
                self._close(job, "cancelled")
            job.stop.set()
        return job

    def report(self, job: Job) -> JobReport:
        """Tell how a job stands."""
        with self._changed:
            ahead = self._waiting()
            before = 0
            if job in ahead:
                before = ahead.index(job) + any(other.state == "running" for other in self._jobs.values())
            names = (["views.png"] if job.picture else []) + list(job.files)
            return JobReport(
                id=job.id,
                state=job.state,
                step=job.step,
                steps=job.steps,
                before=before,
                error=job.error,
                notes=job.notes,
                files=[f"/jobs/{job.id}/{name}" for name in names],
                order=job.order,
            )

    def all(self) -> list[Job]:
        """List the jobs that are known, oldest first."""
        with self._changed:
            return list(self._jobs.values())

    def close(self, seconds: float = 30) -> None:
        """Cancel what waits and runs, and wait for the step at work."""
        with self._changed:
            self._closed = True
            for job in self._jobs.values():
                job.stop.set()
            self._changed.notify_all()
        self._thread.join(seconds)

    def _waiting(self) -> list[Job]:
        return [job for job in self._jobs.values() if job.state == "waiting"]

    def _close(self, job: Job, state: State, error: str = "") -> None:
        """Note a job's end, and remove the oldest of those that have ended."""
        job.state, job.error = state, error
        if state != "done":
            job.files = {}
            shutil.rmtree(job.folder, ignore_errors=True)
        ended = [other for other in self._jobs.values() if other.ended]
        for other in ended[: max(0, len(ended) - self._keep)]:
            self._remove(other)

    def _remove(self, job: Job) -> None:
        del self._jobs[job.id]
        shutil.rmtree(job.folder, ignore_errors=True)

    def _run(self) -> None:
        while (job := self._next()) is not None:
            state, error = self._attempt(job)
            with self._changed:
                self._close(job, state, error)

    def _next(self) -> Job | None:
        """Wait for the next job; None when the queue was closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting())
            if self._closed:
                return None
            job = self._waiting()[0]
            job.state = "running"
            return job

    def _attempt(self, job: Job) -> tuple[State, str]:
        """Do a job's work; whatever goes wrong is its failure, and the next one begins."""
        try:
            self._work(job)
            job.go_on()
        except Cancelled:
            return "cancelled", ""
        except TuneMV3DError as error:
            # Clients are told no path of this machine.
            return "failed", str(error).replace(str(self._folder), "results")
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            return "failed", f"the sampling failed ({type(error).__name__}); the server's own output says where"
        return "done", ""
