"""Signs of life between processes: a rank that is stopped or gone is named, where the others could only wait for it."""

import os
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch.distributed as dist
from accelerate import Accelerator

from tunemv3d_core.console import messages
from tunemv3d_core.errors import TuneMV3DError

EVERY = 2.0
"""Seconds between a rank's signs of life."""

SILENT = 30.0
"""Seconds without one after which a rank is named."""

WAIT = timedelta(hours=1)
"""So long the others wait for the main process, which measures, draws and saves alone."""

GO_ON = "The last checkpoint is whole: go on from it with --resume"


class SignsOfLife:
    """A thread that tells the other ranks that this one lives, and names those that do not.

    Of several that could say it, the lowest living rank does.

    Args:
        rank: this process.
        world: how many there are.
    """

    def __init__(self, rank: int, world: int) -> None:
        self._rank, self._world = rank, world
        # A connection of its own: one that waits for something would keep the others from theirs.
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        wait = timedelta(seconds=SILENT)
        self._store = dist.TCPStore(host, port, is_master=False, timeout=wait)  # type: ignore[attr-defined]
        self._place = f"process {os.getpid()} on {socket.gethostname()}"
        self._places: dict[int, str] = {}
        self._signs: dict[int, tuple[str, float]] = {}
        self._named: set[int] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="signs of life", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Give and watch for no more signs."""
        self._ended.set()
        self._thread.join()

    def lost(self) -> str:
        """Say which ranks have gone, after the connection to one was lost. Waits for two signs."""
        asked = time.monotonic()
        time.sleep(2.5 * EVERY)
        gone = [rank for rank, (_, seen) in sorted(self._signs.items()) if seen < asked and rank != self._rank]
        named = ", ".join(self._called(rank) for rank in gone) or "another process"
        return f"{named} ended in the middle of the run; its own message, if there is one, says why. {GO_ON}"

    def _watch(self) -> None:
        number = 0
        while not self._ended.wait(EVERY if number else 0):
            number += 1
            try:
                self._store.set(f"alive/{self._rank}", f"{number} {self._place}")
                self._look()
            except (dist.DistError, RuntimeError):  # the store's own process has gone: the next step says so
                return

    def _look(self) -> None:
        now = time.monotonic()
        for rank in range(self._world):
            if rank != self._rank and self._store.check([f"alive/{rank}"]):
                sign, _, self._places[rank] = self._store.get(f"alive/{rank}").decode().partition(" ")
                if self._signs.get(rank, ("", 0.0))[0] != sign:
                    self._signs[rank] = (sign, now)
        silent = {rank for rank, (_, seen) in self._signs.items() if now - seen > SILENT}
        if all(rank in silent for rank in range(self._rank)):
            for rank in sorted(silent - self._named):
                _tell(
                    f"{self._called(rank)} has given no sign of life for {SILENT:.0f} s, and the others wait for it. "
                    f"If it is stopped, let it go on; else end the run. {GO_ON}"
                )
            for rank in sorted(self._named - silent):
                _tell(f"{self._called(rank)} is back")
        self._named = silent

    def _called(self, rank: int) -> str:
        return f"rank {rank} ({self._places[rank]})"


def _tell(sentence: str) -> None:
    messages.print(sentence, style="yellow", soft_wrap=True)


@contextmanager
def together(accelerator: Accelerator) -> Iterator[None]:
    """Work as one of several processes, which end together; nothing special of a single one.

    Raises:
        TuneMV3DError: another process ended in the middle.
    """
    if accelerator.num_processes == 1:
        yield
        return
    signs = SignsOfLife(accelerator.process_index, accelerator.num_processes)
    try:
        with _without_notes():
            yield
        # With the process group destroyed: a rank that leaves first takes down those still at work.
        accelerator.wait_for_everyone()
    except BaseException as error:
        lost = signs.lost() if _lost_another(error) else ""
        signs.close()
        _leave()
        if lost:
            raise TuneMV3DError(lost) from error
        raise
    signs.close()
    dist.destroy_process_group()


@contextmanager
def _without_notes() -> Iterator[None]:
    """Leave out what torch says of its own wrapping and what nobody can act on."""
    with warnings.catch_warnings():
        # A new name of an option, which Accelerate has no word for yet.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        # Weights of 1 x 1 convolutions lie in memory as their gradients do, whatever the strides say.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides", UserWarning)
        yield


def _leave() -> None:
    """Leave the others behind. On GPUs what they have not joined would hold this process's GPU until its limit."""
    world = dist.group.WORLD
    if world is not None and dist.get_backend() == "nccl":
        world.abort()
    else:
        dist.destroy_process_group()


def _lost_another(error: BaseException) -> bool:
    words = ("gloo", "Connection closed by peer", "Connection reset by peer", "Broken pipe")
    told = isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    return told or isinstance(error, dist.DistError)
