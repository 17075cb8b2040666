"""All of a release: build everything, and gather what is wrong with it."""

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tunemv3d_core.release.build import BuildError, Built, Project, build
from tunemv3d_core.release.checks import changelog_faults, content_faults, install_faults, metadata_faults


@dataclass(frozen=True)
class Released:
    """What became of one distribution.

    Attributes:
        name: its name.
        version: its version.
        files: its sdist and wheel; none where it did not build.
        faults: what is wrong with it, a line each.
    """

    name: str
    version: str
    files: tuple[Path, ...]
    faults: tuple[str, ...]


def make_release(projects: Iterable[Project], out: Path, rehearsal: bool = False) -> list[Released]:
    """Build projects into ``out`` and check each, and all of them installed together.

    Args:
        projects: what is released together, with one version.
        out: an empty folder.
        rehearsal: whether the changelog may still call the version unreleased.
    """
    built: dict[str, Built] = {}
    faults: dict[str, list[str]] = {}
    known: dict[str, Project] = {}
    for project in projects:
        known[project.name] = project
        faults[project.name] = list(changelog_faults(project, rehearsal))
        try:
            built[project.name] = build(project, out)
        except BuildError as error:
            faults[project.name].append(str(error))
    versions = {project.name: project.version for project in known.values()}
    if len(set(versions.values())) > 1:
        told = ", ".join(f"{name} {version}" for name, version in versions.items())
        faults[next(iter(known))].append(f"released together with different versions: {told}")
    for name, each in built.items():
        faults[name] += [*metadata_faults(each, versions), *content_faults(each)]
    with tempfile.TemporaryDirectory() as target:
        for name, fault in install_faults(list(built.values()), Path(target)):
            faults[name].append(fault)
    return [
        Released(
            name, versions[name], (built[name].sdist, built[name].wheel) if name in built else (), tuple(faults[name])
        )
        for name in known
    ]
