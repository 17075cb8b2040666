"""Consoles of all commands, and the conversion of errors to one message and an exit code."""

import json
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from io import TextIOWrapper
from types import FrameType
from typing import Any, NoReturn, TextIO

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text
from typer.main import get_group

from tunemv3d_core.errors import EXIT_BAD_INPUT, TuneMV3DError, TuneMV3DWarning
from tunemv3d_core.foreign_text import harmless, harmless_json, harmless_message
from tunemv3d_core.processor import keep_freed_memory


class _HarmlessConsole(Console):
    """Console that shows what a terminal would obey as escapes: tables and lines hold text of other people's files."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(harmless(segment.text), segment.style)


console = _HarmlessConsole(markup=False, emoji=False)
"""For results: standard output. Brackets and colons are shown as they are."""

messages = _HarmlessConsole(stderr=True, markup=False, emoji=False)
"""For progress, notes and errors: standard error, so that results can be piped."""


def run(app: typer.Typer | Callable[..., Any], arguments: list[str] | None = None) -> NoReturn:
    """Run a command line and exit with the codes of ``tunemv3d_core.errors``.

    A ``TuneMV3DError``, an error of the disk and a lack of memory are one message on standard error and exit code 2,
    without a traceback; Ctrl-C and SIGTERM
    are one word and 130. A ``TuneMV3DWarning`` is one line on standard error.

    Args:
        app: a typer app, or a function with typer annotations.
        arguments: instead of ``sys.argv[1:]``.
    """
    keep_freed_memory()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal or pipe that lacks a letter shows it as an escape
            stream.reconfigure(errors="backslashreplace")
    try:
        with _interruptible(), _one_line_warnings():
            typer.main.get_command(_as_typer(app)).main(arguments)
    except TuneMV3DError as error:
        show_error(error)
        sys.exit(EXIT_BAD_INPUT)
    except OSError as error:  # a full disk, a folder that vanished: whatever no command has words of its own for
        where = f"{error.filename}: " if error.filename else ""
        show_error(TuneMV3DError(f"{where}{error.strerror or error}"))
        sys.exit(EXIT_BAD_INPUT)
    except MemoryError:
        show_error(TuneMV3DError("the memory of this machine is not enough for this; take smaller files or sizes"))
        sys.exit(EXIT_BAD_INPUT)
    sys.exit()


@contextmanager
def quiet(*libraries: str) -> Iterator[None]:
    """Show no log, and no bar of some libraries, inside: a fault is one message.

    Args:
        libraries: those of Hugging Face whose bars are meant, such as "transformers"; they are imported.
    """
    level = logging.root.manager.disable
    bars = [import_module(f"{library}.utils.logging") for library in libraries]
    shown = [library for library in bars if library.is_progress_bar_enabled()]
    for library in shown:
        library.disable_progress_bar()
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(level)
        for library in shown:
            library.enable_progress_bar()


def show_error(error: TuneMV3DError) -> None:
    """Print an error's message on standard error, unwrapped so that paths in it can be copied."""
    messages.print(Text.assemble(("error: ", "bold red"), harmless_message(str(error))), soft_wrap=True)


def print_json(value: Any) -> None:
    """Print a result for machines on standard output; other letters as escapes where it is not UTF-8, as on Windows."""
    is_utf_8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    print(harmless_json(json.dumps(value, indent=2, ensure_ascii=not is_utf_8)))


def print_table(table: Table) -> None:
    """Print a table; where its columns would have to break words, one row below the other, a cell a line."""
    # Not Measurement.get, which never asks for more than there is.
    if table.__rich_measure__(console, console.options).minimum <= console.width:
        console.print(table, highlight=False)
        return
    headings = [str(column.header).strip() for column in table.columns]
    for first, *cells in zip(*(map(str, column.cells) for column in table.columns), strict=True):
        told = [(heading, cell.strip()) for heading, cell in zip(headings[1:], cells, strict=True) if cell.strip()]
        if len(cells) == 1:
            console.print(Text(": ".join([first.strip(), *(cell for _, cell in told)])), highlight=False)
            continue
        console.print(Text(first.strip(), "bold"))
        for heading, cell in told:
            line = Text.assemble((f"{heading}: " if heading else "", "dim"), cell)
            console.print(Padding(line, (0, 0, 0, 2), expand=False), highlight=False)


def command_of(app: typer.Typer | Callable[..., Any], name: str) -> Any:
    """Convert a Typer app or function to the command ``name`` of a group."""
    parent = typer.Typer(add_completion=False)
    if isinstance(app, typer.Typer):
        parent.add_typer(app, name=name)
    else:
        parent.command(name)(app)
    return get_group(parent).commands[name]


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM end a command as Ctrl-C does: what it has half written is removed."""
    before = {number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _one_line_warnings() -> Iterator[None]:
    """Show our own warnings to people, without the line of code that they come from."""
    before = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, TuneMV3DWarning):
            messages.print(Text.assemble(("warning: ", "yellow"), harmless_message(str(message))), soft_wrap=True)
        else:
            before(message, category, filename, lineno, file, line)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before


def _interrupt(number: int, frame: FrameType | None) -> None:
    # Not by a console: a progress bar's thread may hold its lock and wait for one that the interrupted code holds.
    with suppress(OSError):
        os.write(2, b"interrupted\n")
    raise KeyboardInterrupt


def _as_typer(app: typer.Typer | Callable[..., Any]) -> typer.Typer:
    if isinstance(app, typer.Typer):
        return app
    wrapped = typer.Typer(add_completion=False)
    wrapped.command()(app)
    return wrapped
