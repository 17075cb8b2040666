"""Where a study's jobs run: side by side on the cards of this machine, or on a Ray cluster."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tunemv3d_core.errors import TuneMV3DError


class Running(Protocol):
    """A job at work."""

    @property
    def place(self) -> str:
        """Where it runs, for the report."""
        ...

    def exit_code(self) -> int | None:
        """Return its exit code, or None while it works."""
        ...

    def stop(self) -> None:
        """Ask it to keep what it has and to end."""
        ...


class Engine(Protocol):
    """Room for jobs."""

    capacity: int

    def start(self, command: tuple[str, ...], log: Path) -> Running:
        """Start a command whose output goes to ``log``."""
        ...

    def close(self) -> None:
        """Give the room back."""
        ...


@dataclass
class Process:
    """A process of this machine."""

    process: "subprocess.Popen[bytes]"
    place: str

    def exit_code(self) -> int | None:
        """See ``Running``."""
        return self.process.poll()

    def stop(self) -> None:
        """See ``Running``."""
        self.process.send_signal(signal.SIGTERM)


@dataclass
class ThisMachine:
    """Processes of this machine; each sees the one card that had the fewest jobs when it began.

    Attributes:
        jobs: how many work side by side on a card, or on the machine where there is none.
        cards: as CUDA_VISIBLE_DEVICES names them.
    """

    jobs: int
    cards: list[str] = field(default_factory=lambda: visible_cards())

    def __post_init__(self) -> None:
        self.capacity = self.jobs * max(1, len(self.cards))
        self._at_work: list[Process] = []

    def start(self, command: tuple[str, ...], log: Path) -> Running:
        """See ``Engine``."""
        self._at_work = [each for each in self._at_work if each.exit_code() is None]
        busy = Counter(each.place for each in self._at_work)
        card = min(self.cards, key=lambda name: busy[name], default=None)
        process = started(command, log, {} if card is None else {"CUDA_VISIBLE_DEVICES": card})
        self._at_work.append(Process(process, "cpu" if card is None else card))
        return self._at_work[-1]

    def close(self) -> None:
        """See ``Engine``."""


def started(command: tuple[str, ...], log: Path, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    """Start a process that Ctrl-C in the terminal does not reach: the study asks it to end, once."""
    # It inherits the study's hold on its folder (work.alone_in).
    apart: dict[str, Any] = {"process_group": 0, "close_fds": False} if os.name == "posix" else {}
    with log.open("wb") as file:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env={**os.environ, **environment}, **apart
        )


def visible_cards() -> list[str]:
    """Return the CUDA devices that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [word.strip() for word in chosen.split(",") if word.strip() not in ("", "-1")]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


@dataclass
class _RayJob:
    ray: Any
    reference: Any
    place: str = "ray"

    def exit_code(self) -> int | None:
        """See ``Running``; a worker that is lost counts as 1."""
        done, _ = self.ray.wait([self.reference], timeout=0)
        if not done:
            return None
        try:
            code: int = self.ray.get(self.reference)
        except self.ray.exceptions.RayError:
            return 1
        return code

    def stop(self) -> None:
        """See ``Running``."""
        self.ray.cancel(self.reference)


class RayCluster:
    """Tasks on the Ray cluster of RAY_ADDRESS, or on a local one. All its machines must see the study's folder.

    Args:
        jobs: how many share a card; without cards, how many share a processor.

    Raises:
        TuneMV3DError: Ray is not installed.
    """

    def __init__(self, jobs: int) -> None:
        try:
            import ray
        except ImportError:
            raise TuneMV3DError("--executor ray: Ray is not installed; pip install 'tunemv3d-eval[ray]'") from None
        ray.init(ignore_reinit_error=True, log_to_driver=False, configure_logging=False)
        self._ray, cards = ray, int(ray.cluster_resources().get("GPU", 0))
        share: dict[str, float] = {"num_gpus": 1 / jobs, "num_cpus": 0} if cards else {"num_cpus": 1 / jobs}
        self._task = ray.remote(max_retries=0, **share)(_in_task)
        self.capacity = jobs * (cards or int(ray.cluster_resources().get("CPU", 1)))

    def start(self, command: tuple[str, ...], log: Path) -> Running:
        """See ``Engine``."""
        return _RayJob(self._ray, self._task.remote(command, log.resolve(), os.getcwd()))

    def close(self) -> None:
        """See ``Engine``."""
        self._ray.shutdown()


def _in_task(command: tuple[str, ...], log: Path, folder: str) -> int:
    """A task on Ray; cancelled, it asks its process to end as the study would."""
    os.chdir(folder)
    process = started((sys.executable, *command[1:]), log, {})
    try:
        while process.poll() is None:
            time.sleep(0.1)  # Waiting in the system's call, a task never hears that it is cancelled.
    except KeyboardInterrupt:
        process.send_signal(signal.SIGTERM)
    return process.wait()
