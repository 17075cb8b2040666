"""Tests that wait for a process beside them: a failure is told at once, and nothing is left running."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from child_processes import running

SLEEP = "import time; time.sleep(60)"


def test_what_fails_in_the_block_is_told_at_once() -> None:
    began = time.monotonic()
    with pytest.raises(ZeroDivisionError), running([sys.executable, "-c", SLEEP]) as process:
        1 / 0  # noqa: B018
    assert process.returncode != 0 and time.monotonic() - began < 10


def test_a_line_that_does_not_come_ends_the_wait_and_is_told() -> None:
    with (
        pytest.raises(AssertionError) as told,
        running([sys.executable, "-c", SLEEP], seconds=0.3, stdout=subprocess.PIPE) as process,
    ):
        assert process.stdout.readline() == b"ready\n"
    assert "did not end within 0.3 s and was killed" in "".join(told.value.__notes__)


@pytest.mark.skipif(os.name != "posix", reason="Windows has no process groups")
def test_what_a_process_leaves_behind_ends_with_the_block(tmp_path: Path) -> None:
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}])"
    with running([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.wait(30) == 0
    # What is left holds the other end of the pipe: it would be open for as long as that lives.
    assert process.stdout.closed
    until = time.monotonic() + 5
    while _group_lives(process.pid):
        assert time.monotonic() < until
        time.sleep(0.01)


def _group_lives(group: int) -> bool:
    """Whether something but a zombie is in a process group."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            return True
    return False
