"""Ctrl-C and SIGTERM as a request to stop after the current step."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tunemv3d_core.console import messages


class Interruption:
    """Record of whether somebody asked to stop."""

    def __init__(self) -> None:
        self.requested = False

    def request(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: the first one is a request, the second one abandons the step."""
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        messages.print("stopping after this step; again to abandon it without a checkpoint", style="yellow")


@contextmanager
def watched() -> Iterator[Interruption]:
    """Turn SIGINT and SIGTERM into a request while the context lasts."""
    interruption = Interruption()
    before = {number: signal.signal(number, interruption.request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
