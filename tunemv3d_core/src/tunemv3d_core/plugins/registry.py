"""Components by slot and name: listed from metadata, imported one at a time; a broken one never stops the others."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from entrypoints import EntryPoint

from tunemv3d_core import __version__
from tunemv3d_core.errors import ComponentError, suggestion
from tunemv3d_core.foreign_text import shown
from tunemv3d_core.plugins.descriptor import FILE_SLOTS, FIRST_PARTY, SLOTS, ComponentPlugin
from tunemv3d_core.plugins.discovery import PERMISSION, Discovery, EntryPointRecord, is_permitted, normalised
from tunemv3d_core.plugins.validation import descriptor_error


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
        except ComponentError as error:
            raise ComponentError(f"{_who(self.record)}: {error}") from error


class Registry:
    """The components of all installed distributions."""

    def __init__(self) -> None:
        self._discovery = Discovery()
        self._loaded: dict[EntryPointRecord, Any] = {}
        self._refused: dict[EntryPointRecord, str] = {}

    def clear(self) -> None:
        """Forget what was found and imported, as after an installation."""
        self._discovery.clear()
        self._loaded.clear()
        self._refused.clear()

    def everything(self) -> list[EntryPointRecord]:
        """Return all entry points from metadata, in the order of ``SLOTS``; unusable ones too (see ``objection``)."""
        known = {slot: place for place, slot in enumerate(SLOTS)}
        return sorted(self._discovery.everything(), key=lambda record: known.get(record.slot, len(known)))

    def records(self, slot: str) -> list[EntryPointRecord]:
        """Return the entry points of a slot that may be used, from metadata only."""
        return self._discovery.records(slot)

    def names(self, slot: str) -> list[str]:
        """Return the names of a slot from metadata; "distribution:name" where the plain name is not theirs."""
        records = self.records(slot)
        claims = Counter(record.name for record in records)
        owned = Counter(record.name for record in records if record.distribution in FIRST_PARTY)
        plain = {r for r in records if claims[r.name] == 1 or (owned[r.name] == 1 and r.distribution in FIRST_PARTY)}
        return [r.name if r in plain else f"{r.distribution}:{r.name}" for r in records]

    def find(self, slot: str, name: str) -> EntryPointRecord:
        """Look up "name" or "distribution:name" without importing it.

        Raises:
            ComponentError: unknown, with a suggestion and what is installed; forbidden; or claimed by two distributions
                neither of which is the project's own.
        """
        found = _named(self.records(slot), name)
        if len(found) > 1:
            found = [record for record in found if record.distribution in FIRST_PARTY] or found
        if not found:
            raise ComponentError(self._unknown(slot, name))
        if len(found) > 1:
            claims = " and ".join(f"{r.distribution} {r.version} ({r.value})" for r in found)
            choices = " or ".join(f"'{r.distribution}:{r.name}'" for r in found)
            raise ComponentError(
                f"'{shown(name)}' is claimed by {claims}. Write {choices}, uninstall one, or forbid one by "
                f"{PERMISSION}=-{found[-1].distribution}"
            )
        return found[0]

    def get(self, slot: str, name: str) -> Component:
        """Import one component's descriptor and check it.

        Raises:
            ComponentError: unknown, claimed twice, forbidden, not importable, not a descriptor of this slot, or of
                another interface version.
        """
        record = self.find(slot, name)
        return Component(self.load(record), record)

    def load(self, record: EntryPointRecord) -> Any:
        """Import the object of an entry point: a ``ComponentPlugin``, a ``CommandPlugin`` or a ``Path``.

        Raises:
            ComponentError: it may not or cannot be imported, or is not what its slot asks for.
        """
        if record in self._refused:
            raise ComponentError(self._refused[record])
        if record not in self._loaded:
            if objection := self.objection(record):
                raise ComponentError(f"{_who(record)} {objection}")
            try:
                value = load_value(record.value)
            except ComponentError as error:
                raise ComponentError(f"{_who(record)}: {error}") from error
            if problem := descriptor_error(record, value):
                raise ComponentError(f"{_who(record)} {problem}")
            self._loaded[record] = value
        return self._loaded[record]

    def refuse(self, record: EntryPointRecord, problem: str) -> None:
        """Never import an entry point that was found broken; ``load`` raises a ``ComponentError`` of that message."""
        self._refused[record] = problem

    def objection(self, record: EntryPointRecord) -> str | None:
        """Return why an entry point must not be imported, or None. The text follows its name in a sentence."""
        if not is_permitted(record.distribution):
            return f"is forbidden by {PERMISSION}={os.environ[PERMISSION]}"
        if record.slot not in SLOTS:
            return f"is for a slot that tunemv3d-core {__version__} does not have.{suggestion(record.slot, SLOTS)}"
        return None

    def _unknown(self, slot: str, name: str) -> str:
        kind = slot if slot in (*FILE_SLOTS, "command") else "component"
        if forbidden := _named(self._discovery.records(slot, permitted=False), name):
            return f"{_who(forbidden[0])} {self.objection(forbidden[0])}"
        installed = ", ".join(map(str, self.records(slot))) or f"nothing for the slot '{slot}'"
        return f"no {kind} '{shown(name, 200)}'.{suggestion(name, self.names(slot))} Installed: {installed}"


@cache
def registry() -> Registry:
    """Return the registry of this process."""
    return Registry()


def load_value(value: str) -> Any:
    """Import the object that "module:attribute" names. Output of the import goes to standard error.

    Raises:
        ComponentError: whatever the import raised; ``sys.exit`` too.
    """
    try:
        with _stdout_to_stderr():
            return EntryPoint.from_string(value, value).load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a panic of a Rust extension, say, is no Exception
        raise ComponentError(f"'{value}' does not load: {type(error).__name__}: {error}") from error


@contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Redirect standard output, which is for results, to standard error; also that of C code and child processes."""
    with redirect_stdout(sys.stderr):
        try:
            stdout = os.dup(1)
        except OSError:  # a process without standard streams
            yield
            return
        try:
            os.dup2(2, 1)
            yield
        finally:
            os.dup2(stdout, 1)
            os.close(stdout)


def _named(records: Iterable[EntryPointRecord], name: str) -> list[EntryPointRecord]:
    """Return the records that "name" or "distribution:name" may mean."""
    distribution, _, plain = name.rpartition(":")
    return [r for r in records if r.name == plain and normalised(distribution) in ("", r.distribution)]


def _who(record: EntryPointRecord) -> str:
    return f"{record.slot} {record}"
