"""``tunemv3d plugins new``: a package with one component to start from."""

from pathlib import Path
from typing import Annotated

import typer

from tunemv3d_core.cli.ending import say_next
from tunemv3d_core.cli.options import JsonOption
from tunemv3d_core.console import console, print_json
from tunemv3d_core.scaffold.write import SLOTS, write_package


def new(
    slot: Annotated[str, typer.Argument(help=f"What the component is: {', '.join(SLOTS)}.")],
    name: Annotated[str, typer.Argument(help="Its name, which is that of the Python package too: my_field.")],
    out: Annotated[Path | None, typer.Option(help="The package's folder.  [default: ./NAME]")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a package with a new component. It installs and conforms as it is: start from there."""
    folder = out or Path(name)
    files = write_package(slot, name, folder)
    if as_json:
        print_json({"folder": str(folder), "files": [str(file) for file in files]})
        return
    for file in files:
        console.print(f"{folder / file}", highlight=False, soft_wrap=True)
    console.print(f"{folder / 'README.md'} says how to go on", highlight=False, soft_wrap=True)
    say_next("pip", "install", "-e", folder)
