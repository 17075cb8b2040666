"""Meshes to render, and work that crashes, hangs or fails, for the tests of the render job."""

import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.objects import SourceObject
from tunemv3d_data.rendering.executors import Executor, Outcomes, Work
from tunemv3d_data.rendering.settings import Result

RED, GREEN, BLUE = (220, 30, 30, 255), (30, 180, 40, 255), (30, 50, 220, 255)


def coloured_box() -> trimesh.Trimesh:
    """A cube whose side at -y is red, at +x green, all others blue (z up)."""
    box = trimesh.creation.box((1, 1, 1))
    colours = np.tile(np.uint8(BLUE), (len(box.faces), 1))
    colours[box.face_normals[:, 1] < -0.9] = RED
    colours[box.face_normals[:, 0] > 0.9] = GREEN
    box.visual.face_colors = colours
    return box


def meshes_folder(folder: Path) -> Path:
    """A box, a sphere, and a file that is no mesh."""
    folder.mkdir()
    coloured_box().export(folder / "box.ply")
    ball = trimesh.creation.icosphere(2)
    ball.visual.vertex_colors = np.uint8(RED)
    ball.export(folder / "red ball.ply")
    (folder / "broken.glb").write_bytes(b"not a mesh")
    return folder


def boxes(folder: Path, count: int) -> list[SourceObject]:
    """Objects box-00, box-01, ... of different proportions."""
    folder.mkdir()
    for number in range(count):
        trimesh.creation.box((1, 1 + number / 10, 1)).export(folder / f"box-{number:02d}.stl")
    return [SourceObject(f"box-{number:02d}", folder / f"box-{number:02d}.stl") for number in range(count)]


def pictures(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, with its content."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@dataclass(frozen=True)
class Sabotage:
    """Work that comes to grief at objects with certain words in their ids, and else is ``inner``."""

    inner: Work | None = None

    def __call__(self, source: SourceObject) -> tuple[list[Result], int]:
        """Do it."""
        if "segfault" in source.id:
            os.kill(os.getpid(), signal.SIGSEGV)
        if "oom" in source.id:
            os.kill(os.getpid(), signal.SIGKILL)
        if "hang" in source.id:
            time.sleep(3600)
        if "disk" in source.id:
            raise DatasetError("the disk is full")
        return self.inner(source) if self.inner else ([Result(source.id, "rendered")], os.getpid())


@dataclass(frozen=True)
class Sabotaged:
    """An executor whose work comes to grief."""

    executor: Executor

    def run(self, work: Work, sources: Iterable[SourceObject]) -> Outcomes:
        """Run it."""
        return self.executor.run(Sabotage(work), sources)
