"""``tunemv3d data``: make, check, show, convert and pack multi-view datasets. One module a command."""

import typer

from tunemv3d_data.commands.check import check
from tunemv3d_data.commands.render import render

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Make and check multi-view datasets.")


@app.callback()
def _group() -> None:
    """Make and check multi-view datasets."""


app.command()(render)
app.command()(check)
