"""Errors in an imported descriptor, in words."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

from tunemv3d_core import __version__
from tunemv3d_core.plugins.descriptor import API, FILE_SLOTS, CommandPlugin, ComponentPlugin, how_to_install
from tunemv3d_core.plugins.discovery import EntryPointRecord

_API = re.compile(r"[0-9]+\.[0-9]+")
_OBJECT = re.compile(r"\w+(\.\w+)*:\w+(\.\w+)*")


def descriptor_error(record: EntryPointRecord, value: Any) -> str | None:
    """Return why the object of an entry point does not fit its slot, or None. Follows its name in a sentence."""
    if record.slot in FILE_SLOTS:
        return _file_error(record, value)
    kind = CommandPlugin if record.slot == "command" else ComponentPlugin
    if not isinstance(value, kind):
        return f"({record.value}) is not a {kind.__name__}"
    for field in fields(value):
        stated = getattr(value, field.name)
        if field.name != "spec" and not isinstance(stated, str):
            return f"declares {field.name} = {stated!r:.60}, which is not text"
    return _version_error(record, value.api) or _metadata_error(record, value)


def _file_error(record: EntryPointRecord, value: Any) -> str | None:
    if not isinstance(value, Path):
        return f"({record.value}) is not a pathlib.Path"
    if not value.exists():
        return f"is not at {value}: reinstall it: {how_to_install(record.distribution, options='--force-reinstall')}"
    return None


def _version_error(record: EntryPointRecord, api: str) -> str | None:
    """Compare as semantic versions: the same major version, and no newer minor one than is offered."""
    offered = API[record.slot]
    if not _API.fullmatch(api):
        return f"declares the interface version '{api}'; it should look like '{offered}'"
    theirs, ours = ([int(number) for number in version.split(".")] for version in (api, offered))
    if theirs[0] == ours[0] and theirs[1] <= ours[1]:
        return None
    older = "tunemv3d-core" if theirs > ours else record.distribution
    return (
        f"is written for version {api} of the {record.slot} interface; tunemv3d-core {__version__} offers {offered}: "
        f"{how_to_install(older, options='-U')}"
    )


def _metadata_error(record: EntryPointRecord, value: ComponentPlugin | CommandPlugin) -> str | None:
    target = value.app if isinstance(value, CommandPlugin) else value.build
    if isinstance(value, ComponentPlugin):
        from tunemv3d_core.config.component_spec import (  # which finds components by what imports this
            ComponentSpec,
            LossTermSpec,
        )

        if value.slot != record.slot:
            return f"is published in the slot '{record.slot}' but describes a component of '{value.slot}'"
        if not (isinstance(value.spec, type) and issubclass(value.spec, ComponentSpec)):
            return "has a spec that is not a ComponentSpec"
        if value.slot == "loss" and not issubclass(value.spec, LossTermSpec):
            return "has a spec that is not a LossTermSpec, so that nothing can weigh it"
    if value.name != record.name:
        return f"is published as '{record.name}' but its descriptor names it '{value.name}'"
    if not _OBJECT.fullmatch(target):
        return f"declares '{target}', which does not look like 'module:function'"
    return None
