"""Signals as a request to stop after the current step, on which all processes agree."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
import torch.distributed as dist
from torch import Tensor

from tunemv3d_core.console import messages

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name))
"""Ctrl-C, what schedulers and launchers send before they kill, and the end of a terminal."""


class Interruption:
    """Record of whether somebody asked to stop.

    Several processes vote after every step. The vote runs beside the next step and on the CPU, so that no step waits
    for it; all hear its result one step later.
    """

    def __init__(self) -> None:
        self.requested = False
        several = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        self._group = dist.new_group(backend="gloo") if several else None
        self._vote: Tensor | None = None
        self._pending: dist.Work | None = None

    def request(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: the first one is a request, a second Ctrl-C abandons the step."""
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.requested:
            messages.print("stopping after this step; Ctrl-C again abandons it without a checkpoint", style="yellow")
        self.requested = True

    def agreed(self) -> bool:
        """Tell whether to stop after this step, in all processes alike. Called once after every step by all of them."""
        if self._group is None:
            return self.requested
        result = self._result()
        self._vote = torch.tensor(float(self.requested))
        self._pending = dist.all_reduce(self._vote, group=self._group, async_op=True)
        return result

    def close(self) -> None:
        """Wait for a vote that is still under way."""
        self._result()

    def _result(self) -> bool:
        if self._pending is None or self._vote is None:
            return False
        self._pending.wait()
        self._pending = None
        return bool(self._vote > 0)


@contextmanager
def watched() -> Iterator[Interruption]:
    """Turn ``SIGNALS`` into a request while the context lasts."""
    interruption = Interruption()
    before = {number: signal.signal(number, interruption.request) for number in SIGNALS}
    try:
        yield interruption
        interruption.close()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
