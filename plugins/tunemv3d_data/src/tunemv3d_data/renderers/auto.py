"""``--renderer auto``: OpenGL where this machine has it, else the ray caster that runs everywhere."""

import subprocess
import sys
from functools import cache

_TRIAL = "import moderngl; moderngl.create_context(require=330, standalone=True, backend='egl')"


def choose(name: str) -> str:
    """Return the renderer that a name stands for: "auto" is ``moderngl`` where it can run, else ``embree``."""
    if name != "auto":
        return name
    return "embree" if why_not_moderngl() else "moderngl"


@cache
def why_not_moderngl() -> str:
    """Say why no OpenGL context can be had here; "" if one can. A child tries: a bad driver may end its process."""
    try:
        done = subprocess.run([sys.executable, "-c", _TRIAL], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return ""
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"the driver ended the process with exit code {done.returncode}"
