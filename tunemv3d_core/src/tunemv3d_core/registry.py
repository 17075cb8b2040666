"""Components by slot and name: listed from metadata, imported one at a time, broken ones never in the others' way."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, cast

from entrypoints import EntryPoint
from pydantic import BaseModel

from tunemv3d_core.discovery import Discovery, EntryPointRecord, normalised
from tunemv3d_core.errors import ComponentError
from tunemv3d_core.plugin import API, FILE_SLOTS, SLOTS, CommandPlugin, ComponentPlugin


@dataclass(frozen=True)
class Component:
    """An installed component: its descriptor and where it comes from."""

    plugin: ComponentPlugin
    record: EntryPointRecord

    def load_build(self) -> Callable[..., Any]:
        """Import the build function.

        Raises:
            ComponentError: the module cannot be imported or lacks the function.
        """
        try:
            return cast(Callable[..., Any], load_value(self.plugin.build))
        except (Exception, SystemExit) as error:
            raise ComponentError(f"{_who(self.record)}: '{self.plugin.build}' does not load: {_told(error)}") from error


@dataclass(frozen=True)
class Problem:
    """Why an installed component cannot be used."""

    slot: str
    name: str
    distribution: str
    version: str
    cause: str


class Registry:
    """The components of all installed distributions."""

    def __init__(self) -> None:
        self._discovery = Discovery()
        self._loaded: dict[EntryPointRecord, Any] = {}

    def clear(self) -> None:
        """Forget what was found and imported, as after an installation."""
        self._discovery.clear()
        self._loaded.clear()

    def records(self, slot: str) -> list[EntryPointRecord]:
        """Entry points of a slot, from metadata only."""
        return self._discovery.records(slot)

    def names(self, slot: str) -> list[str]:
        """Names of a slot, from metadata only; "distribution:name" where two distributions claim one."""
        records = self.records(slot)
        claims = Counter(record.name for record in records)
        return [r.name if claims[r.name] == 1 else f"{r.distribution}:{r.name}" for r in records]

    def find(self, slot: str, name: str) -> EntryPointRecord:
        """Look up "name" or "distribution:name" without importing it.

        Raises:
            ComponentError: unknown, with a suggestion and what is installed; or claimed by two distributions.
        """
        distribution, _, plain = name.rpartition(":")
        found = [r for r in self.records(slot) if r.name == plain]
        if distribution:
            found = [r for r in found if r.distribution == normalised(distribution)]
        if not found:
            raise ComponentError(self._unknown(slot, name))
        if len(found) > 1:
            claims = " and ".join(f"{r.distribution} {r.version} ({r.value})" for r in found)
            choices = " or ".join(f"'{r.distribution}:{r.name}'" for r in found)
            raise ComponentError(f"'{name}' is claimed by {claims}. Write {choices}, or uninstall one")
        return found[0]

    def get(self, slot: str, name: str) -> Component:
        """Import one component's descriptor and check it.

        Raises:
            ComponentError: unknown, claimed twice, not importable, not a descriptor of this slot, or of another
                interface version.
        """
        record = self.find(slot, name)
        return Component(self.load(record), record)

    def load(self, record: EntryPointRecord) -> Any:
        """Import what an entry point names: a ``ComponentPlugin``, a ``CommandPlugin`` or a ``Path``.

        Raises:
            ComponentError: it cannot be imported, or is not what its slot asks for.
        """
        if record not in self._loaded:
            try:
                value = load_value(record.value)
            except (Exception, SystemExit) as error:
                raise ComponentError(f"{_who(record)} does not load: {_told(error)}") from error
            fault = _fault(record, value)
            if fault:
                raise ComponentError(f"{_who(record)} {fault}")
            self._loaded[record] = value
        return self._loaded[record]

    def problem(self, record: EntryPointRecord) -> Problem | None:
        """Import one entry point and say what is wrong with it, if anything."""
        try:
            self.load(record)
        except ComponentError as error:
            return Problem(record.slot, record.name, record.distribution, record.version, str(error))
        return None

    def problems(self, slots: Iterable[str] = SLOTS) -> list[Problem]:
        """Import everything in turn and report what is broken."""
        checked = (self.problem(record) for slot in slots for record in self.records(slot))
        return [problem for problem in checked if problem]

    def _unknown(self, slot: str, name: str) -> str:
        kind = slot if slot in (*FILE_SLOTS, "command") else "component"
        installed = ", ".join(map(str, self.records(slot))) or f"nothing for the slot '{slot}'"
        return f"no {kind} '{name}'.{suggestion(name, self.names(slot))} Installed: {installed}"


@cache
def registry() -> Registry:
    """The registry of this process."""
    return Registry()


def load_value(value: str) -> Any:
    """Import the object that "module:attribute" names."""
    return EntryPoint.from_string(value, value).load()


def suggestion(word: str, known: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` with the known word nearest to a misspelt one, or nothing."""
    near = get_close_matches(word, list(known), n=1)
    return f" Did you mean '{near[0]}'?" if near else ""


def _fault(record: EntryPointRecord, value: object) -> str | None:
    """Why a loaded object is not what its slot asks for."""
    if record.slot in FILE_SLOTS:
        return None if isinstance(value, Path) else f"({record.value}) is not a pathlib.Path"
    if record.slot == "command":
        return None if isinstance(value, CommandPlugin) else f"({record.value}) is not a CommandPlugin"
    if not isinstance(value, ComponentPlugin):
        return f"({record.value}) is not a ComponentPlugin"
    if value.slot != record.slot:
        return f"is published in the slot '{record.slot}' but describes a component of '{value.slot}'"
    if not (isinstance(value.spec, type) and issubclass(value.spec, BaseModel) and "type" in value.spec.model_fields):
        return "has a spec that is not a ComponentSpec"
    offered = API[record.slot]
    if value.api.partition(".")[0] != offered.partition(".")[0]:
        return (
            f"is written for version {value.api} of the {record.slot} interface; this tunemv3d-core offers {offered}. "
            f"Install versions of {record.distribution} and tunemv3d-core that agree"
        )
    return None


def _who(record: EntryPointRecord) -> str:
    return f"{record.slot} {record}"


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
