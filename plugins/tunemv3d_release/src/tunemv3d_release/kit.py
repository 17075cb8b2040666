"""The conformance kit, asked of wheels by the tests of their own projects."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tunemv3d_core.plugins.descriptor import COMPONENT_SLOTS
from tunemv3d_release.build import Built
from tunemv3d_release.installed import wheels_first

ASKS = "parametrize_with_checks"
PATIENCE = 3600.0
"""Seconds that the tests of a project may take; a component's checks take one minute at most."""


def kit_errors(built: Built, target: Path) -> Iterator[str]:
    """Run the tests by which a project asks the kit, on its installed wheel; yield what fails and who is not asked.

    The tests hold what the kit needs to know: options without default, and failures that are expected.

    Args:
        built: the project.
        target: folder that the wheel is installed in.
    """
    points = built.project.metadata.get("entry-points", {})
    components = [(slot, name) for slot in COMPONENT_SLOTS for name in points.get(f"tunemv3d.{slot}", ())]
    asked = asked_by(built.project.folder / "tests")
    for slot, name in components:
        if (slot, name) not in asked:
            yield f"{slot} {name}: no test asks the kit about it: add @{ASKS}({slot!r}, {name!r}) to tests/"
    if files := sorted({file for component in components for file in asked.get(component, ())}):
        yield from _failures(built.project.folder.resolve(), files, target)


def asked_by(tests: Path) -> dict[tuple[str, str], set[Path]]:
    """Return the files below a folder of tests that ask the kit, by slot and name of the component."""
    found: dict[tuple[str, str], set[Path]] = {}
    for file in tests.rglob("*.py"):
        try:
            tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == ASKS:
                found.setdefault(_component(node), set()).add(file.resolve())
    return found


def _component(call: ast.Call) -> tuple[str, str]:
    """Return the slot and the name that a call states; "" for what is no literal."""
    stated = dict(zip(("slot", "name"), call.args, strict=False))
    stated |= {word.arg: word.value for word in call.keywords if word.arg in ("slot", "name")}
    slot, name = (getattr(stated.get(word), "value", "") for word in ("slot", "name"))
    return str(slot), str(name)


def _failures(folder: Path, files: list[Path], target: Path) -> Iterator[str]:
    """Yield a line for each test that fails."""
    # Settings of the project that would put its sources before the wheel are left out.
    words = ["-q", "-rfE", "--tb=no", "--no-header", "-p", "no:cacheprovider", "-o", "pythonpath=", "-o", "addopts="]
    # -P: the folder where it runs does not come before the wheel.
    command = [sys.executable, "-P", "-m", "pytest", *words, *map(str, files)]
    # Wide, since pytest cuts lines at the width of a terminal.
    environment = wheels_first(target) | {"COLUMNS": "10000"}
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        yield f"kit: the tests did not end within {PATIENCE:g} s"
        return
    told = re.findall(r"^(?:FAILED|ERROR) (.+)$", done.stdout, re.MULTILINE)
    if done.returncode and not told:
        told = [" / ".join((done.stderr or done.stdout).strip().splitlines()[-3:])]
    yield from (f"kit: {line}" for line in told)
