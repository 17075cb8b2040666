"""Commands of the registry as Typer runs them."""

from typing import Any

from tunemv3d_core.console import command_of
from tunemv3d_core.errors import ComponentError
from tunemv3d_core.plugins.descriptor import CommandPlugin
from tunemv3d_core.plugins.registry import load_value, registry


def command_descriptor(name: str) -> CommandPlugin:
    """Import the descriptor of an installed command, which is light.

    Raises:
        ComponentError: no such command, or its descriptor is broken.
    """
    installed = registry()
    plugin: CommandPlugin = installed.load(installed.find("command", name))
    return plugin


def load_command(name: str) -> Any:
    """Import an installed command; a name with a dot is one of a group, such as ``plugins.release``.

    Raises:
        ComponentError: no such command, or it does not load.
    """
    plugin = command_descriptor(name)
    try:
        return command_of(load_value(plugin.app), name.rpartition(".")[2])
    except ComponentError as error:
        raise ComponentError(f"command {registry().find('command', name)}: {error}") from error
