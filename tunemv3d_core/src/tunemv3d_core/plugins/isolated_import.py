"""Imports of plugins in another process, where one that prints, hangs or crashes harms only itself."""

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
from tunemv3d_core.plugins.targets import check_target

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


@dataclass(frozen=True)
class ImportResult:
    """Outcome of an import.

    Attributes:
        problem: why the object cannot be used, or None.
        seconds: duration.
        printed: output to standard output and standard error.
        renamed_to: the new name of a component that has an old one.
        summary: one line on the component or command.
    """

    problem: str | None
    seconds: float
    printed: str = ""
    renamed_to: str = ""
    summary: str = ""


PATIENCE = 3.0
"""Seconds that listings of everything allow one third-party descriptor."""

STARTING = 120.0
"""Seconds that the other process may take until it begins."""


def probe_third_party(slots: Iterable[str]) -> dict[EntryPointRecord, ImportResult]:
    """Import third-party entry points of some slots in another process; refuse broken ones in this one."""
    installed = registry()
    records = [r for slot in slots for r in installed.records(slot) if r.distribution not in FIRST_PARTY]
    results = dict(zip(records, import_each(records, PATIENCE), strict=True))
    for record, result in results.items():
        if result.problem is not None:
            installed.refuse(record, result.problem)
    return results


def import_each(records: list[EntryPointRecord], seconds: float, targets: bool = False) -> Iterator[ImportResult]:
    """Import the objects of entry points one after the other; a new process continues after one that was stopped.

    Args:
        records: entry points to import.
        seconds: time limit of one import.
        targets: also import the functions that descriptors name, and validate packaged specs (``check_target``).
    """
    left = list(records)
    while left:
        for result in _in_a_process(tuple(left), seconds, targets):
            yield result
            left.pop(0)


def _in_a_process(records: tuple[EntryPointRecord, ...], seconds: float, targets: bool) -> Iterator[ImportResult]:
    """Import in one process, up to the first entry point that it did not survive."""
    from multiprocessing import get_context  # slow to import, and needed only where third parties publish something

    context = get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_import_each, args=(records, targets, there))
    process.start()
    there.close()
    try:
        if not here.poll(STARTING):
            raise ComponentError(f"the process for importing plugins did not begin within {STARTING:g} s; try again")
        if here.recv() != "ready":
            raise EOFError
        for record in records:
            began = time.monotonic()
            if not here.poll(seconds):
                yield ImportResult(f"{record.slot} {record}: its import did not end within {seconds:g} s", seconds)
                return
            try:
                yield here.recv()
            except EOFError:
                process.join()
                problem = f"{record.slot} {record}: its import ended the process (exit code {process.exitcode})"
                yield ImportResult(problem, time.monotonic() - began)
                return
    except EOFError:
        raise ComponentError("the process for importing plugins could not be started") from None
    finally:
        process.kill()
        process.join()


def _import_each(records: tuple[EntryPointRecord, ...], targets: bool, results: "Connection[object, object]") -> None:
    """Import in the other process, and send an ``ImportResult`` for each."""
    if any(record.slot != "command" for record in records):
        # Every descriptor of a component needs it, and most functions torch; their time is not the plugins'.
        import tunemv3d_core.config.run_spec  # noqa: F401

        if targets:
            import torch  # noqa: F401

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
                if targets:
                    check_target(record, value)
            except ComponentError as error:
                problem = str(error)
        described = [getattr(value, name, "") for name in ("renamed_to", "summary")]
        results.send(ImportResult(problem, time.monotonic() - began, heard.getvalue(), *described))
