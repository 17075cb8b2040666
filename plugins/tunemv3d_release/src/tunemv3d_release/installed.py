"""What of built wheels is broken where nothing but they comes before the environment."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tunemv3d_release.build import Built


class InstallError(Exception):
    """Wheels do not install; the message is pip's."""


def install(built: list[Built], target: Path) -> None:
    """Install the wheels alone into an empty folder.

    Raises:
        InstallError: pip refuses.
    """
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(target)]
    done = subprocess.run([*command, *(str(each.wheel) for each in built)], capture_output=True, text=True)
    if done.returncode:
        raise InstallError(f"does not install: {done.stderr.strip()}")


def wheels_first(target: Path) -> dict[str, str]:
    """Return the variables of a process that finds wheels before what is also installed here in another form."""
    path = os.pathsep.join(filter(None, [str(target), os.environ.get("PYTHONPATH")]))
    # Whatever plugins the user allows, these are asked.
    environment = {name: value for name, value in os.environ.items() if name != "TUNEMV3D_PLUGINS"}
    return environment | {"PYTHONPATH": path}


def load_errors(built: list[Built], target: Path) -> Iterator[tuple[str, str]]:
    """Load all that installed wheels register, with what it names, and yield (distribution, error)."""
    command = [sys.executable, "-m", "tunemv3d_release.load", *(each.project.name for each in built)]
    done = subprocess.run(command, env=wheels_first(target), cwd=target, capture_output=True, text=True)
    rows = json.loads(done.stdout) if done.returncode == 0 else []
    found = {(row["distribution"], row["slot"], row["name"]): row["problems"] for row in rows}
    for each in built:
        for group, points in each.project.metadata.get("entry-points", {}).items():
            for name in points if group.startswith("tunemv3d.") else ():
                problems = found.get((each.project.name, group.removeprefix("tunemv3d."), name))
                if problems is None:
                    problems = [f"{group} {name}: is not listed {done.stderr.strip()}"]
                yield from ((each.project.name, line) for problem in problems for line in problem.splitlines())
