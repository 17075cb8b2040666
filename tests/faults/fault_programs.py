"""A program beside the commands: the render job in one process, where the layer sees what it writes."""

import sys
from pathlib import Path

from tunemv3d_core import console
from tunemv3d_data.rendering.job import run_job
from tunemv3d_data.rendering.settings import RenderJob
from tunemv3d_data.sources import folder


def render(meshes: Path, out: Path) -> None:
    """Render the meshes of a folder."""
    run_job(RenderJob(out=out, views=2, size=(16, 16)), folder.read(meshes))


def main() -> None:
    """Run it as a command is run."""
    console.run(render, sys.argv[1:])
