"""What lies behind a descriptor: a component's function, a command, a packaged spec."""

from typing import Any

from tunemv3d_core.errors import ComponentError, TuneMV3DError
from tunemv3d_core.plugins.descriptor import CommandPlugin, ComponentPlugin
from tunemv3d_core.plugins.discovery import EntryPointRecord
from tunemv3d_core.plugins.registry import load_value


def check_target(record: EntryPointRecord, value: Any) -> None:
    """Import the function that a descriptor names, or validate a packaged spec. Executes whatever that imports.

    Args:
        record: the entry point.
        value: its object, as the registry loads it.

    Raises:
        ComponentError: the function cannot be imported or called, or the spec is not valid; names the entry point.
    """
    try:
        if isinstance(value, ComponentPlugin | CommandPlugin):
            _import(value.build if isinstance(value, ComponentPlugin) else value.app)
        elif record.slot == "spec":
            from tunemv3d_core.config.loading import load_spec  # which finds components by what imports this

            load_spec(f"{record.distribution}:{record.name}")
    except TuneMV3DError as error:
        raise ComponentError(f"{record.slot} {record}: {error}") from error


def _import(target: str) -> None:
    if not callable(load_value(target)):
        raise ComponentError(f"'{target}' is nothing that can be called")
