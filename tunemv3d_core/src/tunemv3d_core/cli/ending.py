"""How commands end: with what to do next, and, on request, with the result shown."""

import os
import shlex
import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from tunemv3d_core.console import messages

OpenOption = Annotated[
    bool, typer.Option("--open", help="Show it: in the browser, or in the system's program for such files.")
]


def say_next(*words: str | Path) -> None:
    """Print a command to go on with on standard error, in one line that can be copied into a shell.

    Args:
        words: of the command line, unquoted.
    """
    messages.print(Text.assemble(("next: ", "bold"), shlex.join(map(str, words))), soft_wrap=True)


def show_result(result: Path | str) -> None:
    """Open a file or an address in the browser, or in what the system has for it; without a display, say so.

    Args:
        result: a file, or an address with its scheme.
    """
    # A browser of the terminal would take the terminal away from whoever waits for the command.
    if sys.platform == "linux" and not any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))):
        messages.print(f"no display here: open {result} where there is one", soft_wrap=True, highlight=False)
    elif not webbrowser.open(result.resolve().as_uri() if isinstance(result, Path) else result):
        messages.print(f"no browser was found here: open {result} in one", soft_wrap=True, highlight=False)
