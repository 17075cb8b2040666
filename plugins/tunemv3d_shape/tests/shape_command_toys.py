"""A toy with its pictures, and how a command is run on folders of it."""

from pathlib import Path
from typing import Any

import typer
from shape_toys import box, numpy_of, seen
from typer.testing import CliRunner

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.io.samples import find_samples, read_sample

CAMERAS = Cameras.orbit(3, elevation=30)
TOY = box((0.3, 0.4, 0.35))
PICTURES = seen(numpy_of(TOY), CAMERAS, 32)
SMALL = ("--resolution", "32", "--faces", "500", "--texture", "64", "--size", "none")


def is_whole(folder: Path) -> bool:
    """Whether a folder holds a sampled object that can be read."""
    return find_samples(folder) == [folder] and read_sample(folder).folder == folder


def run(command: Any, *arguments: object) -> Any:
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])
