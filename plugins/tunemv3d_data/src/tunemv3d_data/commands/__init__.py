"""``tunemv3d data``: make, check, show, convert and pack multi-view datasets. One module a command."""

import typer

from tunemv3d_data.commands.caption import caption
from tunemv3d_data.commands.convert import convert
from tunemv3d_data.commands.render import render

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Make multi-view datasets from meshes.")


@app.callback()
def _group() -> None:
    """Make multi-view datasets from meshes."""


app.command()(render)
app.command()(convert)
app.command()(caption)
