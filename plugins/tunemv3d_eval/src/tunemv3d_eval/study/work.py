"""A study's work: jobs by their order, as many side by side as there is room for, until all are done or time is up."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tunemv3d_core.errors import EXIT_DONE, EXIT_FINDINGS, TuneMV3DError
from tunemv3d_eval.study.engine import Engine, Running
from tunemv3d_eval.study.jobs import Job, Records

LOOK = 0.1
"""Seconds between looks at the jobs that run."""

Told = Callable[[str], None]
"""Callback with one line about a job."""


def work_through(jobs: list[Job], engine: Engine, out: Path, minutes: float | None, tell: Told) -> dict[str, str]:
    """Do what is not done yet.

    Args:
        jobs: in the order of their importance.
        engine: where they run.
        out: the study's folder; ``logs/`` and ``jobs.jsonl`` are written in it.
        minutes: after this time no job is begun, and those at work are asked to end; they go on the next time.
        tell: is given a line for each job that begins and ends.

    Returns:
        Why each job that is not done is not, by its name.
    """
    (out / "logs").mkdir(parents=True, exist_ok=True)
    return _Work(jobs, engine, out, Records(out / "jobs.jsonl"), tell).run(minutes)


class _Work:
    def __init__(self, jobs: list[Job], engine: Engine, out: Path, records: Records, tell: Told) -> None:
        self._engine, self._out, self._records, self._tell = engine, out, records, tell
        self._waiting = records.undone(jobs)
        self._done = {job.name for job in jobs if job not in self._waiting}
        self._running: dict[str, tuple[Job, Running, float]] = {}
        self._missing: dict[str, str] = {}

    def run(self, minutes: float | None) -> dict[str, str]:
        end = float("inf") if minutes is None else time.monotonic() + 60 * minutes
        try:
            while time.monotonic() < end:
                self._begin()
                if not self._running:
                    break
                time.sleep(LOOK)
                self._look(stopped=False)
        finally:
            self._stop()
        late = f"time was up after {minutes:g} minutes" if minutes is not None else "was not begun"
        return self._missing | {job.name: f"not begun: {late}" for job in self._waiting}

    def _begin(self) -> None:
        """Begin jobs while there is room; those that need one that failed are given up."""
        for job in list(self._waiting):
            if job.after in self._missing:
                self._missing[job.name] = f"needs '{job.after}': {self._missing[job.after]}"
                self._waiting.remove(job)
            elif len(self._running) < self._engine.capacity and (job.after is None or job.after in self._done):
                self._waiting.remove(job)
                running = self._engine.start(job.ready_command(), self._log(job))
                self._running[job.name] = job, running, time.monotonic()
                self._tell(f"{job.name}: begins on {running.place}")

    def _look(self, stopped: bool) -> None:
        """Record the jobs that have ended."""
        for name, (job, running, began) in list(self._running.items()):
            code = running.exit_code()
            if code is None:
                continue
            del self._running[name]
            seconds = time.monotonic() - began
            # An evaluation with findings is whole; its report lists them.
            good = (EXIT_DONE, EXIT_FINDINGS) if job.evaluations else (EXIT_DONE,)
            done = code in good and job.product.exists()
            state = "done" if done else "interrupted" if stopped else "failed"
            reason = "" if done else f"{state}: {self._last_words(job, code)}"
            self._records.add(
                {
                    "job": name,
                    "state": state,
                    "reason": reason,
                    "exit": code,
                    "seconds": round(seconds, 1),
                    "place": running.place,
                    "ended": datetime.now(UTC).isoformat(timespec="seconds"),
                    "command": list(job.command),
                }
            )
            if done:
                self._done.add(name)
            else:
                self._missing[name] = reason
            self._tell(f"{name}: {reason or 'done'} ({seconds:.0f} s)")

    def _stop(self) -> None:
        """Ask those at work to end, and wait for them: they keep checkpoints and samples."""
        for _, running, _ in self._running.values():
            running.stop()
        while self._running:
            self._look(stopped=True)
            time.sleep(LOOK)

    def _log(self, job: Job) -> Path:
        return self._out / "logs" / f"{job.name}.log"

    def _last_words(self, job: Job, code: int) -> str:
        """Why a job ended, by the last error or line of its log."""
        lines = [line.strip() for line in self._log(job).read_text("utf-8", "replace").splitlines() if line.strip()]
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        said = (errors or lines or ["said nothing"])[-1]
        return f"exit code {code}: {said} ({self._log(job)})"


@contextmanager
def alone_in(out: Path) -> Iterator[None]:
    """Hold a study's folder. Jobs inherit the hold: those that outlive a killed study keep the next one out.

    Raises:
        TuneMV3DError: another study, or what is left of a killed one, is at work there.
    """
    out.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    held = os.open(out / "lock", os.O_RDWR | os.O_CREAT)
    os.set_inheritable(held, True)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise TuneMV3DError(f"{out}: a study is at work there, or jobs of one that was killed; wait for them") from None
    finally:
        os.close(held)
