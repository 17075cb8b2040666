"""Which components are installed, read from package metadata without importing any of them."""

import configparser
import re
from collections.abc import Iterator
from dataclasses import dataclass
from zipfile import BadZipFile

import entrypoints

from tunemv3d_core.plugin import SLOTS

_GROUPS = {f"tunemv3d.{slot}": slot for slot in SLOTS}


@dataclass(frozen=True)
class EntryPointRecord:
    """One entry point as its distribution's metadata states it; nothing is imported.

    Attributes:
        slot: the group without ``tunemv3d.``.
        name: the component's name.
        value: "module:attribute".
        distribution: normalised name, as ``pip install`` takes it.
        version: of the distribution; "unknown" where its metadata lacks one.
    """

    slot: str
    name: str
    value: str
    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} ({self.distribution} {self.version})"


class Discovery:
    """The entry points of ``sys.path``, scanned at the first question and then remembered."""

    def __init__(self) -> None:
        self._records: list[EntryPointRecord] | None = None

    def records(self, slot: str) -> list[EntryPointRecord]:
        """Entry points of one slot, sorted by name and distribution."""
        if self._records is None:
            self._records = _scan()
        return [record for record in self._records if record.slot == slot]

    def clear(self) -> None:
        """Forget the scan, as after an installation or a change of ``sys.path``."""
        self._records = None


def _scan() -> list[EntryPointRecord]:
    """Read every distribution once.

    The ``entrypoints`` package stops at the first malformed file, whosever it is; importlib.metadata then reads the
    distributions one by one and leaves that one out.
    """
    try:
        found = list(_read_with_entrypoints())
    except (configparser.Error, UnicodeError, OSError, BadZipFile):
        found = list(_read_with_metadata())
    folded = {(r.slot, r.name, r.distribution, r.value): r for r in reversed(found)}
    return sorted(folded.values(), key=lambda r: (r.slot, r.name, r.distribution))


def _read_with_entrypoints() -> Iterator[EntryPointRecord]:
    for config, distribution in entrypoints.iter_files_distros():
        for group in _GROUPS.keys() & set(config.sections()):
            name = normalised(distribution.name)
            version = distribution.version or _version(name)
            for component, value in config[group].items():
                yield EntryPointRecord(_GROUPS[group], component, value, name, version)


def _read_with_metadata() -> Iterator[EntryPointRecord]:
    from importlib import metadata  # slow to import and seldom needed

    seen = set()
    for distribution in metadata.distributions():
        try:
            name, version = normalised(distribution.name), distribution.version
            points = [point for point in distribution.entry_points if point.group in _GROUPS]
        except Exception:  # malformed metadata shows as many kinds of error, and none of them may stop the others
            continue
        if name not in seen:
            seen.add(name)
            yield from (EntryPointRecord(_GROUPS[p.group], p.name, p.value, name, version) for p in points)


def normalised(distribution: str) -> str:
    """A distribution's name in its one canonical spelling: ``My.Plug`` and ``my_plug`` are ``my-plug``."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _version(distribution: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"
