"""Faults of depth and normals, planted in a small rendered dataset, are found and named."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from tunemv3d_core.io.depth_normals import read_depth, read_normals, save_depth, save_normals
from tunemv3d_core.io.posed_images import PosedImages, read_object, write_manifest, write_object
from tunemv3d_data.doctor.examine import Round, examine
from tunemv3d_data.layouts import open_dataset
from tunemv3d_data.meshes.mesh import from_trimesh
from tunemv3d_data.renderers.embree import EmbreeRenderer
from tunemv3d_data.rendering.viewpoints import viewpoints

SIZE, VIEWS = 64, 9
IDS = ("table", "ring")


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table and a leaning ring, with depth and normals."""
    root = tmp_path_factory.mktemp("rendered") / "small"
    legs = [trimesh.creation.box((0.1, 0.1, 0.8), trimesh.transformations.translation_matrix([x, y, -0.4]))
            for x in (-0.5, 0.4) for y in (-0.3, 0.3)]  # fmt: skip
    ring = trimesh.creation.torus(0.7, 0.2)
    ring.apply_transform(trimesh.transformations.rotation_matrix(1.0, [1, 0.3, 0]))
    for id_, mesh in zip(
        IDS, (trimesh.util.concatenate([trimesh.creation.box((1.3, 0.9, 0.1)), *legs]), ring), strict=True
    ):
        _render(root / "objects" / id_, mesh)
    write_manifest(root, "small", dict.fromkeys(IDS, "train"))
    return root


def _render(folder: Path, mesh: trimesh.Trimesh) -> None:
    folder.mkdir(parents=True)
    cameras, names = viewpoints(folder.name, VIEWS), [f"{view:03d}" for view in range(VIEWS)]
    for name, view in zip(names, EmbreeRenderer(2)(from_trimesh(mesh), cameras, (SIZE, SIZE)), strict=True):
        Image.fromarray(np.asarray(view["rgba"])).save(folder / f"{name}.webp", lossless=True, exact=True)
        save_depth(folder / f"{name}.depth.png", np.asarray(view["depth"]))
        save_normals(folder / f"{name}.normal.png", np.asarray(view["normals"]))
    files = [tuple(f"{name}.{kind}" for name in names) for kind in ("webp", "depth.png", "normal.png")]
    record = PosedImages(folder.name, cameras, (SIZE, SIZE), (f"a {folder.name}",), files[0], "CC0-1.0")
    write_object(folder, replace(record, depth_files=files[1], normal_files=files[2]))


@pytest.fixture
def dataset(rendered: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(rendered, tmp_path / "small"))


def rays(record: PosedImages, view: int) -> np.ndarray:
    """Rays with z = 1 in the camera, ``h w 3``, by the definition of a pinhole camera."""
    fx, fy, cx, cy = record.cameras.intrinsics[view].double().numpy()
    y, x = (np.mgrid[:SIZE, :SIZE] + 0.5) / SIZE
    return np.stack([(x - cx) / fx, (y - cy) / fy, np.ones_like(x)], -1)


def edit_depth(root: Path, change: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
    """``change`` gets z depth and the rays of each view."""
    for id_ in IDS:
        record = read_object(root / "objects" / id_)
        for view, file in enumerate(record.depth_files):
            path = root / "objects" / id_ / file
            save_depth(path, change(read_depth(path).astype(float), rays(record, view)))


def edit_normals(root: Path, change: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
    """``change`` gets normals ``h w 3`` and the camera's rotation to the world."""
    for id_ in IDS:
        record = read_object(root / "objects" / id_)
        for view, file in enumerate(record.normal_files):
            path = root / "objects" / id_ / file
            save_normals(path, change(read_normals(path), record.cameras.camera_to_world[view, :3, :3].numpy()))


def checks(root: Path) -> set[tuple[str, str]]:
    return {(finding.object, finding.check) for finding in examine(Round(open_dataset(root)))}


def test_rendered_depth_and_normals_are_sound(dataset: Path) -> None:
    assert examine(Round(open_dataset(dataset))) == []


def test_ray_length_instead_of_z(dataset: Path) -> None:
    edit_depth(dataset, lambda depth, rays: depth * np.linalg.norm(rays, axis=-1))
    assert checks(dataset) == {(id_, "depth-ray-length") for id_ in IDS}


@pytest.mark.parametrize(("factor", "named"), [(0.1, "10"), (10.0, "0.1")])
def test_another_unit(dataset: Path, factor: float, named: str) -> None:
    edit_depth(dataset, lambda depth, rays: depth * factor)
    findings = examine(Round(open_dataset(dataset)))
    assert [finding.check for finding in findings] == ["depth-unit"] * 2
    assert all(f": {named} times" in finding.text for finding in findings), findings[0].text


def test_depth_that_no_unit_explains(dataset: Path) -> None:
    edit_depth(dataset, lambda depth, rays: np.where(depth > 0, 5.4 - depth, 0))
    assert checks(dataset) == {(id_, "depth-inconsistent") for id_ in IDS}


def test_depth_where_there_is_no_object(dataset: Path) -> None:
    edit_depth(dataset, lambda depth, rays: np.where(depth > 0, depth, 6.0))
    assert checks(dataset) == {(id_, "depth-alpha") for id_ in IDS}


def test_normals_into_the_object(dataset: Path) -> None:
    edit_normals(dataset, lambda normals, rotation: -normals)
    assert checks(dataset) == {(id_, "normals-inward") for id_ in IDS}


@pytest.mark.parametrize(("axes", "name"), [((1, -1, -1), "OpenGL camera"), ((1, 1, 1), "OpenCV camera")])
def test_normals_in_the_cameras_axes(dataset: Path, axes: tuple[int, int, int], name: str) -> None:
    edit_normals(dataset, lambda normals, rotation: (normals @ rotation) * np.array(axes))
    findings = examine(Round(open_dataset(dataset)))
    assert [finding.check for finding in findings] == ["normals-camera-space"] * 2
    assert all(name in finding.text for finding in findings)


def test_unreadable_depth_is_a_finding(dataset: Path) -> None:
    (dataset / "objects" / "ring" / "002.depth.png").write_bytes(b"no picture")
    assert checks(dataset) == {("ring", "unreadable")}
