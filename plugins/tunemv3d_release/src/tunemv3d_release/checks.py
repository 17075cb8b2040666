"""Errors in built distributions, each in one line that says what to do."""

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from check_wheel_contents.checker import WheelChecker
from check_wheel_contents.contents import WheelContents
from packaging.metadata import Metadata
from packaging.utils import canonicalize_name
from validate_pyproject.api import Validator
from validate_pyproject.errors import ValidationError

from tunemv3d_release.build import Built, Project

_REQUIRED = {"summary": "description", "requires_python": "requires-python", "license_expression": "license"}
"""Fields of the metadata, each with its key in ``pyproject.toml``."""


def pyproject_errors(project: Project) -> Iterator[str]:
    """Yield what the standards of ``pyproject.toml`` do not allow."""
    try:
        _validator()(project.pyproject)
    except ValidationError as error:
        yield f"pyproject.toml: {_one_line(error.summary)}"


def changelog_errors(project: Project, rehearsal: bool) -> Iterator[str]:
    """Yield that the nearest ``CHANGELOG.md`` lacks a section on the version, or calls it unreleased.

    Args:
        project: whose version it should name.
        rehearsal: whether the version may still be called unreleased.
    """
    folder = project.folder.resolve()
    path = next((file for each in (folder, *folder.parents) if (file := each / "CHANGELOG.md").is_file()), None)
    if path is None:
        yield "no CHANGELOG.md: write one with a section for each version"
        return
    title = re.search(rf"^## \[?{re.escape(project.version)}\]?(?![\w.])(.*)$", path.read_text("utf-8"), re.MULTILINE)
    if title is None:
        yield f"CHANGELOG.md has no section on {project.version}: add '## {project.version} (date)'"
    elif "unreleased" in title[1].lower() and not rehearsal:
        yield f"CHANGELOG.md calls {project.version} unreleased: put the date there"


def requirements_of(built: Built) -> list[str]:
    """Return the dependencies that a wheel's metadata states, those of its extras included."""
    return [str(requirement) for requirement in _metadata(built).requires_dist or ()]


def metadata_errors(built: Built, together: dict[str, str]) -> Iterator[str]:
    """Yield missing metadata, a missing licence text, and pins that exclude what is released together.

    Args:
        built: whose wheel is read.
        together: versions by name of the distributions that are released together.
    """
    with zipfile.ZipFile(built.wheel) as wheel:
        names = wheel.namelist()
    metadata = _metadata(built)
    for field, key in _REQUIRED.items():
        if not getattr(metadata, field):
            yield f"metadata: no {key}; state it in pyproject.toml"
    if not any(".dist-info/licenses/" in name for name in names):
        yield "the wheel holds no licence text: put LICENSE beside pyproject.toml"
    for requirement in metadata.requires_dist or ():
        other = together.get(canonicalize_name(requirement.name))
        if other is not None and not requirement.specifier.contains(other, prereleases=True):
            yield f"needs {requirement}, but {other} is released with it"


def readme_errors(built: Iterable[Built]) -> Iterator[tuple[str, str]]:
    """Yield (distribution, error) for every README that ``twine check`` finds an index would refuse or show badly."""
    owners = {file: each.project.name for each in built for file in (each.wheel, each.sdist)}
    if not owners:
        return
    command = [sys.executable, "-m", "twine", "--no-color", "check", "--strict", *map(str, owners)]
    # Wide, since twine wraps its lines at the width of a terminal.
    environment = os.environ | {"COLUMNS": "10000"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    reports = re.split(r"^Checking ", done.stdout, flags=re.MULTILINE)[1:]
    found = {}
    for report in reports:
        path, _, result = report.partition(": ")
        if not result.startswith("PASSED"):
            # The wheel and the sdist have the same README.
            found[owners[Path(path)]] = _one_line(re.sub(r"\b(WARNING|ERROR) +", "", result.partition("\n")[2]))
    if done.returncode and not found:
        found = {name: _one_line(done.stdout) for name in owners.values()}
    yield from ((name, f"twine check: {text}") for name, text in found.items())


def content_errors(built: Built) -> Iterator[str]:
    """Yield files that the wheel lacks or should not hold, and packages without ``py.typed``."""
    source = built.project.folder / "src"
    checker = WheelChecker()
    checker.configure_options(
        configpath=str(built.project.folder / "pyproject.toml"), src_dir=(str(source),) if source.is_dir() else ()
    )
    for failure in checker.check_contents(WheelContents.from_wheel(str(built.wheel))):
        files = ", ".join(failure.args[:3]) + (f" and {len(failure.args) - 3} more" if len(failure.args) > 3 else "")
        yield f"{failure.check.name}: {failure.check.value}: {files}"
    with zipfile.ZipFile(built.wheel) as wheel:
        names = wheel.namelist()
    for package in sorted({name.partition("/")[0] for name in names if name.count("/") == 1 and name.endswith(".py")}):
        if f"{package}/py.typed" not in names:
            yield f"no {package}/py.typed: add the empty file, so that type checkers read the package"


def _metadata(built: Built) -> Metadata:
    with zipfile.ZipFile(built.wheel) as wheel:
        (path,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        return Metadata.from_email(wheel.read(path))


@cache
def _validator() -> Validator:
    """Return the validator of this process; making one compiles all schemas."""
    return Validator()


def _one_line(text: str) -> str:
    return " ".join(text.split())
