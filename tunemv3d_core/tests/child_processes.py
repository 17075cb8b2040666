"""Processes that run beside a test, none of which it can wait for without limit."""

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Event, Timer
from typing import Any


@contextmanager
def running(command: Sequence[str], seconds: float = 120, **options: Any) -> Iterator["subprocess.Popen[Any]"]:
    """Start a command in a process group of its own, which is killed at the end of the block.

    It is killed after ``seconds`` too: whatever the block waits for - a line, a pipe's end, an exit code - then comes.
    A plain ``with Popen`` waits for ever at the block's end where something in the block fails.

    Args:
        command: words of the command.
        seconds: limit of the whole block.
        options: of ``subprocess.Popen``.
    """
    process = subprocess.Popen(command, start_new_session=True, **options)
    late = Event()

    def end() -> None:
        late.set()
        _kill(process)

    limit = Timer(seconds, end)
    limit.daemon = True
    limit.start()
    try:
        with process:
            try:
                yield process
            finally:
                limit.cancel()
                _kill(process)
    except BaseException as error:
        if late.is_set():
            error.add_note(f"the process did not end within {seconds:g} s and was killed: {' '.join(command)[:300]}")
        raise
    assert not late.is_set(), f"did not end within {seconds:g} s: {' '.join(command)[:300]}"


def _kill(process: "subprocess.Popen[Any]") -> None:
    """End a process, and what it started and left behind."""
    if os.name != "posix":
        process.kill()
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
