"""Commands that call other commands: packages that never import one another share work this way."""

from typing import Any

from tunemv3d_core.console import command_of
from tunemv3d_core.errors import ComponentError
from tunemv3d_core.plugins.registry import load_value, registry


def find_command(name: str, distribution: str) -> Any:
    """The function or app of an installed command.

    Raises:
        ComponentError: not installed; says that ``distribution`` has it.
    """
    installed = registry()
    if name not in installed.names("command"):
        raise ComponentError(f"the command 'tunemv3d {name}' is not installed: pip install {distribution}")
    return load_value(installed.load(installed.find("command", name)).app)


def run_command(name: str, distribution: str, arguments: list[str]) -> None:
    """Run an installed command in this process.

    Raises:
        ComponentError: not installed.
        TuneMV3DError: whatever it refuses, or its words when it ends with findings.
    """
    ended = command_of(find_command(name, distribution), name).main(arguments, prog_name=name, standalone_mode=False)
    if ended:
        raise ComponentError(f"tunemv3d {name} ended with exit code {ended}; its messages are above")
