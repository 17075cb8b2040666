"""All of a release: build everything, and gather what is wrong with it."""

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tunemv3d_release.build import BuildError, Built, Project, build
from tunemv3d_release.checks import (
    changelog_errors,
    content_errors,
    install_errors,
    metadata_errors,
    pyproject_errors,
    readme_errors,
)


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


def make_release(projects: Iterable[Project], out: Path, rehearsal: bool = False) -> list[Released]:
    """Build projects into ``out``, check each, and check all of them installed together.

    Args:
        projects: distributions that are released together, with one version.
        out: an empty folder.
        rehearsal: whether the changelog may still call the version unreleased.
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
    for name, each in built.items():
        errors[name] += [*metadata_errors(each, versions), *content_errors(each)]
    with tempfile.TemporaryDirectory() as target:
        everything = list(built.values())
        for name, line in [*readme_errors(everything), *install_errors(everything, Path(target))]:
            errors[name].append(line)
    files = {name: (each.sdist, each.wheel) for name, each in built.items()}
    return [Released(name, versions[name], files.get(name, ()), tuple(errors[name])) for name in versions]
