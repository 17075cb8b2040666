"""All of a release: build everything, and gather what is wrong with it."""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tunemv3d_release.build import BuildError, Built, Project, build
from tunemv3d_release.checks import (
    changelog_errors,
    content_errors,
    metadata_errors,
    pyproject_errors,
    readme_errors,
    requirements_of,
)
from tunemv3d_release.imports import import_errors
from tunemv3d_release.installed import InstallError, install, load_errors
from tunemv3d_release.kit import kit_errors


@dataclass(frozen=True)
class Released:
    """Outcome of one distribution.

    Attributes:
        name: its name.
        version: its version.
        files: its sdist and wheel; none where it did not build.
        errors: what is wrong with it, a line each.
    """

    name: str
    version: str
    files: tuple[Path, ...]
    errors: tuple[str, ...]


def make_release(projects: Iterable[Project], out: Path, rehearsal: bool = False, kit: bool = True) -> list[Released]:
    """Build projects into ``out``, check each, and check all of them installed together.

    Args:
        projects: distributions that are released together, with one version.
        out: an empty folder.
        rehearsal: whether the changelog may still call the version unreleased.
        kit: whether their components are asked the conformance kit.
    """
    built: dict[str, Built] = {}
    errors: dict[str, list[str]] = {}
    versions: dict[str, str] = {}
    for project in projects:
        versions[project.name] = project.version
        invalid = list(pyproject_errors(project))
        errors[project.name] = [*changelog_errors(project, rehearsal), *invalid]
        if invalid:
            continue
        try:
            built[project.name] = build(project, out)
        except BuildError as error:
            errors[project.name].append(str(error))
    if len(set(versions.values())) > 1:
        listed = ", ".join(f"{name} {version}" for name, version in versions.items())
        errors[next(iter(versions))].append(f"released together with different versions: {listed}")
    requirements = {name: requirements_of(each) for name, each in built.items()}
    for name, each in built.items():
        errors[name] += [*metadata_errors(each, versions), *content_errors(each), *import_errors(each, requirements)]
    everything = list(built.values())
    for name, line in [*readme_errors(everything), *_installed_errors(everything, kit)]:
        errors[name].append(line)
    files = {name: (each.sdist, each.wheel) for name, each in built.items()}
    return [Released(name, versions[name], files.get(name, ()), tuple(errors[name])) for name in versions]


def _installed_errors(built: list[Built], kit: bool) -> Iterator[tuple[str, str]]:
    """Yield (distribution, error) of wheels that are installed by themselves."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder)
        try:
            install(built, target)
        except InstallError as error:
            yield from ((each.project.name, str(error)) for each in built)
            return
        yield from load_errors(built, target)
        for each in built if kit else ():
            yield from ((each.project.name, line) for line in kit_errors(each, target))
