"""``tunemv3d``: lists the commands of all installed packages and imports a command only when it runs."""

import os
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from tunemv3d_core import __version__
from tunemv3d_core.cli.load_command import command_descriptor, load_command
from tunemv3d_core.console import run
from tunemv3d_core.errors import ComponentError
from tunemv3d_core.io.mismatch_policy import PROVENANCE, policy_of
from tunemv3d_core.plugins.discovery import EntryPointRecord
from tunemv3d_core.plugins.isolated_import import ImportResult, probe_third_party
from tunemv3d_core.plugins.registry import registry


class InstalledCommands(TyperGroup):
    """A group whose commands are descriptors until one of them runs."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        # A dot stands between a group and its command, which that group lists.
        self.commands = {name: TyperCommand(name) for name in registry().names("command") if "." not in name}
        self._import_results: dict[EntryPointRecord, ImportResult] = {}

    def list_commands(self, ctx: Any) -> list[str]:
        """Return all names, for ``--help``. Summaries of third parties are read in another process."""
        self._import_results = probe_third_party(["command"])
        return list(super().list_commands(ctx))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command with its summary."""
        listed = self.commands.get(cmd_name)
        if listed is not None:
            listed.help = self._summary(cmd_name)
        return listed

    def _summary(self, name: str) -> str:
        try:
            result = self._import_results.get(registry().find("command", name))
            return command_descriptor(name).summary if result is None or result.problem else result.summary
        except ComponentError as error:
            return f"(broken: {error})"

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Import the command that was asked for."""
        return args[0], load_command(args[0]), args[1:]


def _version(wanted: bool) -> None:
    if wanted:
        print(f"tunemv3d {__version__}")
        raise typer.Exit


app = typer.Typer(cls=InstalledCommands, no_args_is_help=True)


@app.callback()
def tunemv3d(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    provenance: Annotated[
        str,
        typer.Option(
            envvar=PROVENANCE,
            metavar="warn|error|ignore",
            help="If a checkpoint was saved with other versions or other code of its components than are installed.",
        ),
    ] = "",
) -> None:
    """Tune an image diffusion model into one that makes matching views of an object and its shape."""
    if provenance:
        os.environ[PROVENANCE] = policy_of(provenance)


def main() -> None:
    """Entry point of the console script."""
    run(app)
