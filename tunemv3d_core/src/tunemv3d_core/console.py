"""Consoles of all commands, and the conversion of errors to one message and an exit code."""

import json
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from types import FrameType
from typing import Any, NoReturn, TextIO

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text
from typer.main import get_group

from tunemv3d_core.errors import EXIT_BAD_INPUT, TuneMV3DError, TuneMV3DWarning
from tunemv3d_core.foreign_text import harmless, harmless_json, harmless_message


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


def show_error(error: TuneMV3DError) -> None:
    """Print an error's message on standard error, unwrapped so that paths in it can be copied."""
    messages.print(Text.assemble(("error: ", "bold red"), harmless_message(str(error))), soft_wrap=True)


def print_json(value: Any) -> None:
    """Print a result for machines on standard output; other letters as escapes where it is not UTF-8, as on Windows."""
    is_utf_8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    print(harmless_json(json.dumps(value, indent=2, ensure_ascii=not is_utf_8)))


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
    messages.print("interrupted", style="yellow")
    raise KeyboardInterrupt


def _as_typer(app: typer.Typer | Callable[..., Any]) -> typer.Typer:
    if isinstance(app, typer.Typer):
        return app
    wrapped = typer.Typer(add_completion=False)
    wrapped.command()(app)
    return wrapped
