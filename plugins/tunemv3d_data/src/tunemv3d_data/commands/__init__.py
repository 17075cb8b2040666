"""``tunemv3d data``: make, check, show, convert and pack multi-view datasets. One module per command."""

import typer

from tunemv3d_data.commands.attributions import attributions
from tunemv3d_data.commands.caption import caption
from tunemv3d_data.commands.check import check
from tunemv3d_data.commands.convert import convert
from tunemv3d_data.commands.pack import pack
from tunemv3d_data.commands.render import render
from tunemv3d_data.commands.show import show

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Make, check and show multi-view datasets.")


@app.callback()
def _group() -> None:
    """Make, check and show multi-view datasets."""


app.command()(render)
app.command()(convert)
app.command()(caption)
app.command()(pack)
app.command()(attributions)
app.command()(check)
app.command()(show)
