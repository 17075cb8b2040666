"""Imports of plugins tried in another process, where one that prints, hangs or crashes costs nobody but itself."""

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING

from tunemv3d_core.errors import ComponentError
from tunemv3d_core.plugins.descriptor import FIRST_PARTY
from tunemv3d_core.plugins.discovery import EntryPointRecord
from tunemv3d_core.plugins.registry import registry

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


@dataclass(frozen=True)
class Trial:
    """How an import went.

    Attributes:
        problem: why what it names cannot be used, or None.
        seconds: how long it took.
        printed: what it wrote to standard output and standard error.
        renamed_to: the new name of a component that bears an old one.
        summary: what a component or command is, in one line.
    """

    problem: str | None
    seconds: float
    printed: str = ""
    renamed_to: str = ""
    summary: str = ""


PATIENCE = 3.0
"""Seconds that listings of everything leave to one stranger's descriptor."""


def try_strangers(slots: Iterable[str]) -> dict[EntryPointRecord, Trial]:
    """Try what others than the project publish in some slots; what cannot be used is not imported in this process."""
    installed = registry()
    records = [r for slot in slots for r in installed.records(slot) if r.distribution not in FIRST_PARTY]
    trials = dict(zip(records, try_each(records, PATIENCE), strict=True))
    for record, trial in trials.items():
        if trial.problem is not None:
            installed.refuse(record, trial.problem)
    return trials


def try_each(records: list[EntryPointRecord], seconds: float) -> Iterator[Trial]:
    """Import what each entry point names, one after the other; a new process goes on after one that was stopped.

    Args:
        records: what to import.
        seconds: after which an import is stopped.
    """
    left = list(records)
    while left:
        for trial in _in_a_process(tuple(left), seconds):
            yield trial
            left.pop(0)


def _in_a_process(records: tuple[EntryPointRecord, ...], seconds: float) -> Iterator[Trial]:
    """Trials in one process, up to the first that it did not survive."""
    from multiprocessing import get_context  # slow to import, and needed only where strangers publish something

    context = get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_import_each, args=(records, there))
    process.start()
    there.close()
    try:
        if here.recv() != "ready":
            raise EOFError
        for record in records:
            began = time.monotonic()
            if not here.poll(seconds):
                yield Trial(f"{record.slot} {record}: no end of its import after {seconds:g} s", seconds)
                return
            try:
                yield here.recv()
            except EOFError:
                process.join()
                told = f"{record.slot} {record}: its import ended the process (exit code {process.exitcode})"
                yield Trial(told, time.monotonic() - began)
                return
    except EOFError:
        raise ComponentError("no process to try imports in could be started") from None
    finally:
        process.kill()
        process.join()


def _import_each(records: tuple[EntryPointRecord, ...], results: "Connection[object, object]") -> None:
    """In the other process: import, and send a ``Trial`` for each."""
    import tunemv3d_core.config.run_spec  # noqa: F401  # every descriptor of a component needs it; its time is not the plugins'

    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    results.send("ready")
    for record in records:
        heard, problem, value = StringIO(), None, None
        began = time.monotonic()
        with redirect_stdout(heard), redirect_stderr(heard):
            try:
                value = registry().load(record)
            except ComponentError as error:
                problem = str(error)
        told = [getattr(value, name, "") for name in ("renamed_to", "summary")]
        results.send(Trial(problem, time.monotonic() - began, heard.getvalue(), *told))
