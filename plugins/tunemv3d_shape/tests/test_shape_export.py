"""Files read back by trimesh, and by hand: axes, scale, colours, material, provenance."""

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from shape_toys import box, numpy_of, seen, sphere, stripes, union

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import SampleError
from tunemv3d_core.io.glb import copyright_of, glb, mesh_provenance
from tunemv3d_core.slots import TexturedMesh
from tunemv3d_shape.export import write_mesh
from tunemv3d_shape.generate import textured
from tunemv3d_shape.spec import MarchingCubesSpec
from tunemv3d_shape.surface import extract_surface

TOY = union(box((0.2, 0.3, 0.5)), sphere(0.15, (0, -0.4, 0.3)))
"""Tall, with a nose in front (-y) above the middle."""

ABOUT = mesh_provenance(
    {"prompt": "ein Stuhl, größer", "checkpoint": "toy", "data": {"licences": {"CC0-1.0": 1, "CC-BY-3.0": 2}}, "x": 1}
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TexturedMesh]:
    cameras = Cameras.cat([Cameras.orbit(4, elevation=20), Cameras.orbit(2, elevation=70)])
    views, options = seen(numpy_of(TOY), cameras, 96), MarchingCubesSpec(faces=3000, texture=256)
    mesh = textured(extract_surface(TOY, 64), TOY, views, options)
    folder = tmp_path_factory.mktemp("made")
    files = write_mesh(folder, "object", mesh, ("glb", "obj", "ply"), ABOUT)
    assert files == ["object.glb", "object.obj", "object.mtl", "object.png", "object.ply"]
    assert sorted(files) == sorted(path.name for path in folder.iterdir())
    return folder, mesh


def tree_of(path: Path) -> dict[str, Any]:
    return tree_of_glb(path.read_bytes())


def tree_of_glb(content: bytes) -> dict[str, Any]:
    length = struct.unpack("<I", content[12:16])[0]
    tree: dict[str, Any] = json.loads(content[20 : 20 + length])
    return tree


def z_up(points: np.ndarray) -> np.ndarray:
    return np.stack([points[:, 0], -points[:, 2], points[:, 1]], -1)


@pytest.mark.parametrize("name", ["object.glb", "object.obj"])
def test_textured_files_are_y_up_and_painted_in_place(made: tuple[Path, TexturedMesh], name: str) -> None:
    mesh = trimesh.load(made[0] / name, force="mesh", process=False)
    np.testing.assert_allclose(mesh.bounds, [[-0.2, -0.5, -0.3], [0.2, 0.5, 0.55]], atol=0.02)
    nose = mesh.vertices[mesh.vertices[:, 2] > 0.4]
    assert nose[:, 1].mean() == pytest.approx(0.3, abs=0.03)
    assert mesh.volume == pytest.approx(trimesh.Trimesh(made[1].vertices, made[1].faces).volume, 1e-4)
    image = mesh.visual.material.baseColorTexture if name.endswith("glb") else mesh.visual.material.image
    texels = np.asarray(image.convert("RGB")) / 255
    centres = mesh.visual.uv[mesh.faces].mean(1)
    at = (centres * [texels.shape[1], -texels.shape[0]]).astype(int) % texels.shape[0]
    error = np.abs(texels[at[:, 1], at[:, 0]] - stripes(z_up(mesh.triangles_center))).mean(-1)
    upper = mesh.face_normals[:, 1] > -0.3  # no camera stands below
    assert np.median(error[upper]) < 0.03 and np.quantile(error[upper], 0.9) < 0.08


def test_node_and_mesh_are_called_as_the_prompt(made: tuple[Path, TexturedMesh]) -> None:
    tree = tree_of(made[0] / "object.glb")
    assert [entry[0]["name"] for entry in (tree["nodes"], tree["meshes"])] == ["ein Stuhl, größer"] * 2
    assert "\no ein Stuhl, größer\n" in (made[0] / "object.obj").read_text(encoding="utf-8")
    assert tree_of_glb(glb(made[1], {}))["nodes"][0]["name"] == "object"


def test_the_material_is_unlit_or_dull_and_one_sided(made: tuple[Path, TexturedMesh]) -> None:
    tree = tree_of(made[0] / "object.glb")
    (material,) = tree["materials"]
    look = material["pbrMetallicRoughness"]
    assert (look["metallicFactor"], look["roughnessFactor"]) == (0, 0.9)
    assert material["extensions"] == {"KHR_materials_unlit": {}} and tree["extensionsUsed"] == ["KHR_materials_unlit"]
    assert made[1].watertight and not material.get("doubleSided", False)
    assert tree["images"][0]["mimeType"] == "image/png"
    (primitive,) = tree["meshes"][0]["primitives"]
    assert {"POSITION", "NORMAL", "TEXCOORD_0"} <= set(primitive["attributes"])
    # ARRAY_BUFFER and ELEMENT_ARRAY_BUFFER of the glTF specification.
    held = {a: tree["bufferViews"][tree["accessors"][a]["bufferView"]]["target"] for a in range(4)}
    assert held == {a: 34963 if a == primitive["indices"] else 34962 for a in range(4)}


def test_an_open_surface_is_shown_from_both_sides(made: tuple[Path, TexturedMesh], tmp_path: Path) -> None:
    cut = replace(made[1], faces=made[1].faces[:-9], uv_faces=made[1].uv_faces[:-9])
    assert not cut.watertight
    write_mesh(tmp_path, "open", cut, ("glb",), ABOUT)
    assert tree_of(tmp_path / "open.glb")["materials"][0]["doubleSided"] is True


def test_what_made_it_travels_in_the_files(made: tuple[Path, TexturedMesh]) -> None:
    asset = tree_of(made[0] / "object.glb")["asset"]
    assert asset["version"] == "2.0" and asset["extras"] == ABOUT
    assert asset["extras"]["prompt"] == "ein Stuhl, größer" and "x" not in ABOUT
    assert asset["copyright"] == (
        "Generated by TuneMV3D with the checkpoint 'toy', which learned from objects under CC-BY-3.0, CC0-1.0"
    )
    head = (made[0] / "object.obj").read_text(encoding="utf-8").splitlines()[:3]
    assert asset["copyright"] in head[0] and "größer" in head[1]
    assert all(line.startswith("#") for line in head[:2])
    assert copyright_of({}) == "Generated by TuneMV3D with the checkpoint '?'"


def test_ply_is_z_up_with_colours(made: tuple[Path, TexturedMesh]) -> None:
    mesh = trimesh.load(made[0] / "object.ply", process=False)
    np.testing.assert_array_equal(mesh.vertices.astype(np.float32), made[1].vertices)
    np.testing.assert_array_equal(mesh.visual.vertex_colors[:, :3], made[1].colours)
    assert len(mesh.faces) <= 3000


def test_a_full_disk_leaves_nothing_half_written(
    made: tuple[Path, TexturedMesh], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> int:
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SampleError, match=r"object\.glb: could not be written: No space left.*--out"):
        write_mesh(tmp_path / "new", "object", made[1], ("glb",), ABOUT)
    assert list((tmp_path / "new").iterdir()) == []
