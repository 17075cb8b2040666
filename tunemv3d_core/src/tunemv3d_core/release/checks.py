"""What is wrong with built distributions, each fault in one line that says what to do."""

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from packaging.metadata import Metadata

from tunemv3d_core.plugins.discovery import normalised
from tunemv3d_core.release.build import Built, Project

LIST = "from tunemv3d_core.cli.main import main; main()"


def changelog_faults(project: Project, rehearsal: bool) -> Iterator[str]:
    """The nearest ``CHANGELOG.md`` should have a section on the version; one still called unreleased passes only in a
    rehearsal.
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


def metadata_faults(built: Built, together: dict[str, str]) -> Iterator[str]:
    """What an index would refuse or show badly, and pins that exclude what is released with it (names to versions)."""
    with zipfile.ZipFile(built.wheel) as wheel:
        names = wheel.namelist()
        (path,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        text = wheel.read(path)
    try:
        stated = Metadata.from_email(text)
    except ExceptionGroup as group:
        yield from (f"metadata: {error}" for error in group.exceptions)
        return
    for what in ("summary", "description", "requires_python", "license_expression"):
        if not getattr(stated, what):
            told = {"description": "readme", "summary": "description", "license_expression": "license"}
            yield f"metadata: no {told.get(what, 'requires-python')}; state it in pyproject.toml"
    if not any(".dist-info/licenses/" in name for name in names):
        yield "the wheel holds no licence text: put LICENSE beside pyproject.toml"
    for requirement in stated.requires_dist or ():
        other = together.get(normalised(requirement.name))
        if other is not None and not requirement.specifier.contains(other, prereleases=True):
            yield f"needs {requirement}, but {other} is released with it"


def content_faults(built: Built) -> Iterator[str]:
    """The wheel should hold what ``src`` holds, with types, and nothing beside it."""
    with zipfile.ZipFile(built.wheel) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    wanted = _sources(built.project.folder / "src")
    for what, several in (("lacks", wanted - held), ("holds, and src does not:", held - wanted)):
        if several:
            told = ", ".join(sorted(several)[:3]) + (f" and {len(several) - 3} more" if len(several) > 3 else "")
            yield f"the wheel {what} {told}: see [tool.hatch.build] in pyproject.toml"
    for package in sorted({file.partition("/")[0] for file in wanted if "/" in file}):
        if f"{package}/py.typed" not in held:
            yield f"no {package}/py.typed: add the empty file, so that type checkers read the package"


def install_faults(built: list[Built], target: Path) -> Iterator[tuple[str, str]]:
    """Install the wheels alone into an empty folder and load all that they register: (distribution, fault)."""
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(target)]
    done = subprocess.run([*install, *(str(each.wheel) for each in built)], capture_output=True, text=True)
    if done.returncode:
        yield from ((each.project.name, f"does not install: {done.stderr.strip()}") for each in built)
        return
    # Before everything else on the path, so that the wheels hide what is also installed here in another form.
    path = os.pathsep.join(filter(None, [str(target), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-c", LIST, "plugins", "list", "--load", "--json"]
    # Whatever plugins the user allows, these are asked.
    environment = {name: value for name, value in os.environ.items() if name != "TUNEMV3D_PLUGINS"} | {
        "PYTHONPATH": path
    }
    listed = subprocess.run(command, env=environment, cwd=target, capture_output=True, text=True)
    rows = json.loads(listed.stdout) if listed.returncode in (0, 1) else []
    found = {(row["distribution"], row["slot"], row["name"]): row for row in rows}
    for each in built:
        for group, points in each.project.stated.get("entry-points", {}).items():
            for name in points if group.startswith("tunemv3d.") else ():
                row = found.get((each.project.name, group.removeprefix("tunemv3d."), name))
                if row is None:
                    yield each.project.name, f"{group} {name}: is not listed {listed.stderr.strip()}"
                elif row["problem"]:
                    yield each.project.name, row["problem"]


def _sources(folder: Path) -> set[str]:
    """Files below a folder, without those that git ignores."""
    listed = subprocess.run(
        ["git", "-C", str(folder.parent), "ls-files", "-z", "--cached", "--others", "--exclude-standard", folder.name],
        capture_output=True,
        text=True,
    )
    known = [folder.parent / name for name in listed.stdout.split("\0") if name]
    files = [file for file in known or folder.rglob("*") if file.is_file()]
    return {file.relative_to(folder).as_posix() for file in files if "__pycache__" not in file.parts}
