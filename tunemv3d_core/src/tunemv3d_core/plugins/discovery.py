"""Installed components, read from package metadata without importing any of them."""

import configparser
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from zipfile import BadZipFile

import entrypoints

from tunemv3d_core.errors import ComponentError

PERMISSION = "TUNEMV3D_PLUGINS"
"""Environment variable that lists whose plugins may be imported: names of distributions, separated by commas. ``a,b``
allows only these, ``-a,-b`` all but these. tunemv3d-core itself is always allowed.
"""

_PREFIX = "tunemv3d."
_PERMITTED = re.compile(r"-?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


@dataclass(frozen=True)
class EntryPointRecord:
    """One entry point as its distribution's metadata states it; nothing is imported.

    Attributes:
        slot: the group without ``tunemv3d.``; of a plugin for another core it may be none of ``SLOTS``.
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

    def everything(self) -> list[EntryPointRecord]:
        """Return all entry points by slot, name and distribution, with forbidden ones and those of unknown slots."""
        if self._records is None:
            self._records = _scan()
        return self._records

    def records(self, slot: str, permitted: bool = True) -> list[EntryPointRecord]:
        """Return the entry points of one slot that may be used, or those that ``TUNEMV3D_PLUGINS`` forbids."""
        return [r for r in self.everything() if r.slot == slot and is_permitted(r.distribution) == permitted]

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
        for group in config.sections():
            if group.startswith(_PREFIX):
                name = normalised(distribution.name)
                version = distribution.version or _version(name)
                for component, value in config[group].items():
                    yield EntryPointRecord(group.removeprefix(_PREFIX), component, value, name, version)


def _read_with_metadata() -> Iterator[EntryPointRecord]:
    from importlib import metadata  # slow to import and seldom needed

    seen = set()
    for distribution in metadata.distributions():
        try:
            name, version = normalised(distribution.name), distribution.version
            points = [point for point in distribution.entry_points if point.group.startswith(_PREFIX)]
        except Exception:  # malformed metadata shows as many kinds of error, and none of them may stop the others
            continue
        if name not in seen:
            seen.add(name)
            for p in points:
                yield EntryPointRecord(p.group.removeprefix(_PREFIX), p.name, p.value, name, version)


def normalised(distribution: str) -> str:
    """Return the canonical spelling of a distribution's name: ``My.Plug`` and ``my_plug`` are ``my-plug``."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def is_permitted(distribution: str) -> bool:
    """Return whether ``TUNEMV3D_PLUGINS`` lets a distribution's plugins be imported.

    Raises:
        ComponentError: the variable holds anything but names.
    """
    names = [name.strip() for name in os.environ.get(PERMISSION, "").split(",") if name.strip()]
    if strays := [name for name in names if not _PERMITTED.fullmatch(name)]:
        raise ComponentError(
            f"{PERMISSION}: '{strays[0]}' is not the name of a distribution; a,b allows only these, -a,-b all but these"
        )
    allowed = {normalised(name) for name in names if not name.startswith("-")}
    forbidden = {normalised(name[1:]) for name in names if name.startswith("-")}
    asked = normalised(distribution)
    return asked == "tunemv3d-core" or ((asked in allowed or not allowed) and asked not in forbidden)


def _version(distribution: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"
