"""What is watched while a check runs: how long it takes, and what is printed."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOBase
from types import FrameType

from tunemv3d_core.testing.check import ConformanceError


class Heard(TextIOBase):
    """Standard output that keeps what is written, and passes it on to the standard error, apart from the kit's report.

    Args:
        texts: to which each text is added.
    """

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts

    def write(self, text: str) -> int:
        """Keep the text and pass it on."""
        self.texts.append(text)
        return sys.stderr.write(text)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Interrupt Python code that takes longer; only in the main thread, and not on Windows, which has no such signal.

    Raises:
        ConformanceError: it took longer. Raised where the code stood, so that the traceback shows that line.
    """
    has_clock = hasattr(signal, "setitimer") and hasattr(signal, "SIGALRM")
    if not has_clock or threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise ConformanceError(f"it does not end within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
