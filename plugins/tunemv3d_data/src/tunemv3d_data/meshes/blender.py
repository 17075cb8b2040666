"""Blender as a program in a process of its own: where it is, scripts run in it, and files converted by it."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tunemv3d_core.errors import ComponentError, DatasetError

VARIABLE = "TUNEMV3D_BLENDER"
"""Environment variable: a Python that has bpy, or a ``blender`` executable."""

_SCRIPTS = Path(__file__).parents[1] / "in_blender"


def to_glb(path: Path, python: str | None = None) -> bytes:
    """Convert a 3D file that Blender can open (.blend, .fbx, .usd, .abc, …) to GLB.

    Args:
        path: the file.
        python: a Python that has bpy or a ``blender`` executable; found as the renderer finds it where None.

    Raises:
        ComponentError: no Blender.
        DatasetError: Blender cannot read the file; names it and says why.
    """
    program = find_blender(python)
    with tempfile.TemporaryDirectory(prefix="tunemv3d-") as name:
        out = Path(name) / "out.glb"
        words = run_in_blender(program, "convert.py", path.resolve(), out)
        if words or not out.exists():
            raise DatasetError(f"{path}: cannot be converted by Blender: {words or 'it wrote nothing'}")
        return out.read_bytes()


def find_blender(python: str | None = None) -> str:
    """Find the program to run Blender by: the given one, $TUNEMV3D_BLENDER, this Python if it has bpy, ``blender``.

    Raises:
        ComponentError: there is none; says what to install.
    """
    given = python or os.environ.get(VARIABLE)
    if given:
        if found := shutil.which(given):
            return found
        raise ComponentError(f"Blender: {given} is no program; give a Python that has bpy, or a blender executable")
    if importlib.util.find_spec("bpy") is not None:
        return sys.executable
    if found := shutil.which("blender"):
        return found
    raise ComponentError(
        "Blender is not installed: install it (blender.org, or apt install blender), or its Python module in an "
        f"environment of its own (python3.11 -m venv bpy && bpy/bin/pip install bpy) and set {VARIABLE}=bpy/bin/python"
    )


def run_in_blender(program: str, script: str, *arguments: Path) -> str:
    """Run one of our scripts in Blender; return its last words if it failed, else ""."""
    command = [program, str(_SCRIPTS / script), *map(str, arguments)]
    if Path(program).name.lower().startswith("blender"):
        options = ["--background", "-noaudio", "--factory-startup", "--python-exit-code", "1", "--python"]
        command = [program, *options, command[1], "--", *command[2:]]
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(
        command, env=clean, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
    )
    if done.returncode == 0:
        return ""
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return f"{lines[-1] if lines else 'ended'} (exit code {done.returncode})"
