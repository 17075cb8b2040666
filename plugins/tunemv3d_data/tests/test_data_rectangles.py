"""Pictures that are no squares: a sphere's outline is the circle that it should be, in pixels."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import ComponentError
from tunemv3d_core.io.posed_images import read_object
from tunemv3d_data.commands.sizes import read_size
from tunemv3d_data.meshes.mesh import from_trimesh
from tunemv3d_data.renderers import embree
from tunemv3d_data.renderers import moderngl as opengl
from tunemv3d_data.rendering.job import run_job
from tunemv3d_data.rendering.settings import RenderJob
from tunemv3d_data.rendering.viewpoints import viewpoints
from tunemv3d_data.sources.reading import read_sources

RADIUS, DISTANCE, FOCAL = 0.9, 2.7, 1.3  # meshes are scaled to radius 0.9
SHAPES = pytest.mark.parametrize("size", [(96, 64), (64, 96)], ids=["2:3", "3:2"])


def ball() -> trimesh.Trimesh:
    return trimesh.creation.icosphere(5, RADIUS)


def renderers() -> list[Any]:
    try:
        return [embree.EmbreeRenderer(4), opengl.ModernglRenderer(4)]
    except ComponentError:
        return [embree.EmbreeRenderer(4)]


@SHAPES
def test_a_sphere_stays_round(size: tuple[int, int]) -> None:
    """Its outline is a circle of focal length times tan(asin(r / d)), in pixels of the shorter side."""
    cameras = Cameras.orbit(2, elevation=0.0, distance=DISTANCE, focal=FOCAL, aspect=size[1] / size[0])
    expected = min(size) * FOCAL * math.tan(math.asin(RADIUS / DISTANCE))
    for renderer in renderers():
        for view in renderer(from_trimesh(ball()), cameras, size):
            alpha = view["rgba"][..., 3] / 255
            assert alpha.shape == view["depth"].shape == size and view["normals"].shape == (*size, 3)
            half_height, half_width = alpha.sum(0).max() / 2, alpha.sum(1).max() / 2
            assert half_height == pytest.approx(expected, abs=0.5) and half_width == pytest.approx(expected, abs=0.5)
            assert np.sqrt(alpha.sum() / np.pi) == pytest.approx(expected, abs=0.1)
            rows, columns = np.mgrid[: size[0], : size[1]]
            middle = [(alpha * (z + 0.5)).sum() / alpha.sum() for z in (rows, columns)]
            assert middle == pytest.approx([size[0] / 2, size[1] / 2], abs=0.05)


@SHAPES
def test_a_dataset_of_rectangles(size: tuple[int, int], tmp_path: Path) -> None:
    (tmp_path / "meshes").mkdir()
    ball().export(tmp_path / "meshes" / "ball.glb")
    job = RenderJob(tmp_path / "out", views=3, size=size)
    assert run_job(job, read_sources(tmp_path / "meshes")).results[0].status == "rendered"
    record = read_object(tmp_path / "out" / "objects" / "ball")
    expected = viewpoints("ball", 3, aspect=size[1] / size[0])
    assert record.size == size
    np.testing.assert_allclose(record.cameras.intrinsics, expected.intrinsics, rtol=1e-6)
    fx, fy = record.cameras.intrinsics[0, :2].tolist()
    assert fx * size[1] == pytest.approx(fy * size[0])
    stated = json.loads((tmp_path / "out" / "dataset.json").read_text())["settings"]
    assert stated["resolution"] == list(size)


def test_resolutions_as_people_write_them() -> None:
    assert read_size("128") == (128, 128) and read_size("96x64") == (64, 96)
    for text in ("", "x", "96x", "7", "96x64x3", "-8", "1e3"):
        with pytest.raises(Exception, match="WIDTHxHEIGHT"):
            read_size(text)
