"""Meshes as they are found: damaged, huge, nested, painted and see-through in every way that formats have."""

import json
import logging
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import DatasetError
from tunemv3d_data.formats import up_axis
from tunemv3d_data.meshes.mesh import RADIUS, Mesh, from_trimesh, load_mesh
from tunemv3d_data.meshes.textures import MAX_SIDE
from tunemv3d_data.objects import SourceObject
from tunemv3d_data.renderers.embree import EmbreeRenderer

QUAD = "v -1 0 -1\nv 1 0 -1\nv 1 0 1\nv -1 0 1\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nusemtl paint\nf 1/1 2/2 3/3 4/4\n"


def load(path: Path, content: str | bytes | None = None, **known: Any) -> Mesh:
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return load_mesh(SourceObject(id="x", path=path), **known)


def sheet(folder: Path, material: str) -> Mesh:
    """A square with a material."""
    (folder / "sheet.mtl").write_text("newmtl paint\n" + material)
    return load(folder / "sheet.obj", "mtllib sheet.mtl\n" + QUAD)


def gltf_sheet(folder: Path, material: dict[str, Any], texture: Image.Image | None = None) -> Mesh:
    """The same as glTF, its material written by hand."""
    quad = trimesh.Trimesh([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], [[0, 1, 2], [0, 2, 3]], process=False)
    look = trimesh.visual.material.PBRMaterial(baseColorTexture=texture or Image.new("RGB", (2, 2)))
    quad.visual = trimesh.visual.TextureVisuals(uv=[[0, 0], [1, 0], [1, 1], [0, 1]], material=look)
    for name, content in trimesh.Scene([quad]).export(file_type="gltf").items():
        (folder / name).write_bytes(content)
    header = json.loads((folder / "model.gltf").read_text())
    physical = header["materials"][0]["pbrMetallicRoughness"]
    physical |= material.pop("pbrMetallicRoughness", {})
    if texture is None:
        del physical["baseColorTexture"]
    header["materials"][0] |= material
    return load(folder / "model.gltf", json.dumps(header))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("nan.obj", "v 0 0 0\nv 1 0 nan\nv 0 1 0\nf 1 2 3\n", "not finite"),
        ("inf.obj", "v 0 0 0\nv 1 0 inf\nv 0 1 0\nf 1 2 3\n", "not finite"),
        ("huge.obj", "v 0 0 0\nv 1e300 0 0\nv 0 1e300 0\nf 1 2 3\n", "too large"),
        ("points.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\n", "no triangles"),
        ("dot.obj", "v 1 1 1\nv 1 1 1\nv 1 1 1\nf 1 2 3\n", "one point"),
        ("lacks.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n", "lacks|cannot be read"),
        ("empty.stl", "", "empty"),
        ("cut.glb", b"glTF\x02\x00\x00\x00\xff\xff\x00\x00" + b"\0" * 20, "cut off"),
        ("junk.gltf", "{not json", "no readable glTF"),
        ("list.gltf", "[]", "no readable glTF"),
        ("gizmo.gltf", '{"asset": {}, "extensionsRequired": ["ACME_gizmo"]}', "ACME_gizmo"),
        ("old.gltf", '{"asset": {"version": "1.0"}, "meshes": {"a": {}}}', "glTF 1.0"),
        ("old.glb", b"glTF\x01\x00\x00\x00" + b"\0" * 20, "glTF 1.0"),
        ("broken.gltf", '{"asset": {}, "meshes": [{}], "nodes": [{"mesh": 0}]}', "not valid glTF"),
        ("text.ply", "ply\nformat ascii 1.0\nelement vertex 3\n", "end_header"),
        ("junk.off", "hello", "is no OFF file"),
    ],
)
def test_damaged_meshes_are_refused_by_name_and_reason(
    tmp_path: Path, name: str, content: str | bytes, reason: str
) -> None:
    with pytest.raises(DatasetError, match=f"{name}.*({reason})"):
        load(tmp_path / name, content)


def test_a_vertex_that_no_face_uses_may_be_anything(tmp_path: Path) -> None:
    mesh = load(tmp_path / "spare.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nv nan nan 1e9\nf 1 2 3\n")
    assert np.linalg.norm(mesh.triangles, axis=-1).max() == pytest.approx(RADIUS, abs=1e-6)


@pytest.mark.parametrize("suffix", ["obj", "ply", "stl", "off", "glb", "gltf"])
def test_too_many_faces_are_refused_before_they_are_parsed(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"ball.{suffix}"
    ball = trimesh.creation.icosphere(3)
    if suffix == "gltf":
        for name, content in trimesh.Scene([ball]).export(file_type="gltf").items():
            (tmp_path / name).write_bytes(content)
        path = tmp_path / "model.gltf"
    else:
        ball.export(path)
    assert len(load(path, max_faces=1280).triangles) == 1280
    monkeypatch.setattr(trimesh, "load", lambda *_, **__: pytest.fail("parsed"))
    with pytest.raises(DatasetError, match="1,280 faces, over the limit of 1,279"):
        load(path, max_faces=1279)


def test_instances_count_as_often_as_they_are_shown(tmp_path: Path) -> None:
    scene = trimesh.Scene()
    for place in range(5):
        matrix = trimesh.transformations.translation_matrix([3 * place, 0, 0])
        scene.add_geometry(trimesh.creation.box(), geom_name="box" if place == 0 else None, transform=matrix)
    scene.export(tmp_path / "boxes.glb")
    assert len(load(tmp_path / "boxes.glb", max_faces=60).triangles) == 60
    with pytest.raises(DatasetError, match="60 faces"):
        load(tmp_path / "boxes.glb", max_faces=59)


def test_memory_grows_by_the_mesh_and_not_by_its_copies(tmp_path: Path) -> None:
    """At most 460 bytes a face, so that a mesh at the limit of faces stays below 2 GB."""
    trimesh.creation.icosphere(7).export(tmp_path / "ball.ply")
    tracemalloc.start()
    mesh = load(tmp_path / "ball.ply")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(mesh.triangles) == 20 * 4**7 and peak / len(mesh.triangles) < 460


def test_node_transforms_apply_and_mirrors_stay_visible(tmp_path: Path) -> None:
    """A red and a blue box below a mirrored, turned and scaled node; compared with the matrices' own product."""
    scene = trimesh.Scene()
    outer = trimesh.transformations.rotation_matrix(0.7, [0, 1, 0]) @ np.diag([-2.0, 3.0, 0.5, 1.0])
    inner = trimesh.transformations.translation_matrix([4.0, 0, 1.0])
    scene.graph.update("outer", matrix=outer)
    boxes = [trimesh.creation.box((1, 2, 3)), trimesh.creation.box((2, 1, 1))]
    for box, colour in zip(boxes, ((255, 0, 0, 255), (0, 0, 255, 255)), strict=True):
        box.visual.vertex_colors = colour
    scene.add_geometry(boxes[0], node_name="near", parent_node_name="outer")
    scene.add_geometry(boxes[1], node_name="far", parent_node_name="outer", transform=inner)
    scene.export(tmp_path / "boxes.glb")
    mesh = load(tmp_path / "boxes.glb")
    points = [np.c_[box.vertices, np.ones(8)] @ m.T for box, m in zip(boxes, (outer, outer @ inner), strict=True)]
    expected = np.concatenate(points)[:, :3] @ np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])
    expected -= (expected.max(0) + expected.min(0)) / 2
    expected *= RADIUS / np.linalg.norm(expected, axis=1).max()
    corners = mesh.triangles.reshape(-1, 3)
    distance = np.linalg.norm(corners[:, None] - expected[None], axis=-1)
    assert distance.min(1).max() < 1e-5 and distance.min(0).max() < 1e-5
    view = next(EmbreeRenderer(1)(mesh, Cameras.orbit(1), (32, 32)))
    assert (view["material"] == 0).any() and (view["material"] == 1).any()


@pytest.mark.parametrize(("axis", "up"), [("Z_UP", "z"), ("Y_UP", "y")])
def test_collada_says_what_is_up_and_what_to_install(
    tmp_path: Path, axis: str, up: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = f"<COLLADA><asset><up_axis>{axis}</up_axis></asset></COLLADA>"
    assert up_axis(".dae", content.encode()) == up
    monkeypatch.setattr("tunemv3d_data.meshes.mesh.find_spec", lambda name: None)
    with pytest.raises(DatasetError, match="pycollada"):
        load(tmp_path / "x.dae", content)


def test_units_do_not_matter(tmp_path: Path) -> None:
    for name, size in (("m", 1.0), ("mm", 1000.0)):
        trimesh.creation.box((size, size, 2 * size)).export(tmp_path / f"{name}.stl")
    assert np.allclose(load(tmp_path / "m.stl").triangles, load(tmp_path / "mm.stl").triangles, atol=1e-6)


@pytest.mark.parametrize("way", ["missing", "cut", "no picture", "bomb"])
def test_textures_that_cannot_be_shown_leave_the_colour_and_a_note(
    tmp_path: Path, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "wood.png"
    if way == "cut":
        noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[:5000])
    elif way == "no picture":
        path.write_bytes(b"GIF? no")
    elif way == "bomb":
        path.write_bytes(huge_png(60_000, 60_000))
    with caplog.at_level(logging.WARNING):
        mesh = sheet(tmp_path, "Kd 0.2 0.4 0.6\nmap_Kd wood.png\n")
    assert np.allclose(mesh.materials[0].colour, (0.2, 0.4, 0.6), atol=0.01)
    assert "wood.png" in caplog.text


def huge_png(width: int, height: int) -> bytes:
    """A PNG that says it is huge."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def test_damaged_pictures_inside_gltf_are_noted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    gltf_sheet(tmp_path, {}, Image.new("RGB", (4, 4), (0, 255, 0)))
    header = json.loads((tmp_path / "model.gltf").read_text())
    header["images"] = [{"uri": "data:image/png;base64,AAAA", "name": "wood"}]
    header["materials"][0]["pbrMetallicRoughness"]["baseColorFactor"] = [1, 0, 0, 1]
    mesh = load(tmp_path / "model.gltf", json.dumps(header))
    assert np.allclose(mesh.materials[0].colour, (1, 0, 0)) and "wood" in caplog.text


@pytest.mark.parametrize(
    ("mode", "value", "suffix"),
    [
        *(("RGB", (51, 102, 153), "png"), ("RGBA", (51, 102, 153, 255), "png"), ("P", (51, 102, 153), "png")),
        *(("L", 102, "png"), ("I;16", 102 * 257, "png"), ("CMYK", (204, 153, 102, 0), "jpg"), ("1", 255, "png")),
        *(("LA", (102, 255), "png"), ("F", 0.4, "tif"), ("RGB", (51, 102, 153), "bmp"), ("RGB", (51, 102, 153), "tga")),
    ],
)
def test_pictures_of_every_kind_have_their_colours(tmp_path: Path, mode: str, value: Any, suffix: str) -> None:
    if mode == "P":
        image = Image.new("RGB", (16, 16), value).quantize(4)
    elif mode == "I;16":
        image = Image.fromarray(np.full((16, 16), value, dtype=np.uint16))
    else:
        image = Image.new(mode, (16, 16), value)
    image.save(tmp_path / f"wood.{suffix}")
    mesh = sheet(tmp_path, f"map_Kd wood.{suffix}\n")
    grey = mode in ("L", "I;16", "LA", "F")
    expected = (1, 1, 1) if mode == "1" else (0.4, 0.4, 0.4) if grey else (0.2, 0.4, 0.6)
    assert np.allclose(mesh.materials[0].colour, expected, atol=0.02)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_large_pictures_are_reduced(tmp_path: Path, suffix: str) -> None:
    Image.new("RGB", (3 * MAX_SIDE, 64), (51, 102, 153)).save(tmp_path / f"wood.{suffix}")
    texture = sheet(tmp_path, f"map_Kd wood.{suffix}\n").materials[0].texture
    assert texture.shape[1] in (MAX_SIDE, 3 * MAX_SIDE // 4, 3 * MAX_SIDE // 2) and texture.shape[1] <= MAX_SIDE
    assert np.abs(texture[..., :3].astype(int) - (51, 102, 153)).max() < 4


GLASS = (0.8, 0.88, 0.9)


@pytest.mark.parametrize(
    ("lines", "share"),
    [("d 0.25", 0.25), ("Tr 0.75", 0.25), ("d 1", 1.0), ("Tr 0", 1.0), ("Tr 1", 1.0), ("d 0.25\nTr 0.75", 0.25)],
)
def test_opacity_of_mtl_files_pales_towards_glass(tmp_path: Path, lines: str, share: float) -> None:
    expected = np.array([0.9, 0.1, 0.1]) * share + np.array(GLASS) * (1 - share)
    assert np.allclose(sheet(tmp_path, f"Kd 0.9 0.1 0.1\n{lines}\n").materials[0].colour, expected, atol=0.01)
    Image.new("RGB", (4, 4), (230, 26, 26)).save(tmp_path / "wood.png")
    textured = sheet(tmp_path, f"Kd 0 0 0\nmap_Kd wood.png\n{lines}\n").materials[0]
    assert np.allclose(textured.colour, expected, atol=0.01) and (textured.texture[..., 3] == 255).all()


@pytest.mark.parametrize("base", ["map_Kd wood.png\n", "Kd 0.2 0.8 0.2\n"])
def test_opacity_maps_cut_holes(tmp_path: Path, base: str) -> None:
    Image.new("RGB", (8, 8), (51, 204, 51)).save(tmp_path / "wood.png")
    mask = np.zeros((4, 4), dtype=np.uint8)
    mask[:, :2] = 255
    Image.fromarray(mask).save(tmp_path / "leaf.png")
    mesh = sheet(tmp_path, base + "map_d leaf.png\n")
    view = next(EmbreeRenderer(1)(mesh, Cameras.orbit(1, elevation=90.0 - 1e-3), (32, 32)))
    covered = (view["rgba"][..., 3] > 0).mean()
    whole = next(EmbreeRenderer(1)(sheet(tmp_path, base), Cameras.orbit(1, elevation=90.0 - 1e-3), (32, 32)))
    assert covered == pytest.approx((whole["rgba"][..., 3] > 0).mean() / 2, abs=0.04)
    assert np.allclose(mesh.materials[0].colour, (0.2, 0.8, 0.2), atol=0.02)


def stripes() -> Image.Image:
    """Half of the picture with alpha 100, which is between no and all."""
    pixels = np.full((4, 4, 4), (51, 204, 51, 255), dtype=np.uint8)
    pixels[:, 2:, 3] = 100
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    ("material", "alpha"),
    [
        ({}, (255, 255)),
        ({"alphaMode": "OPAQUE"}, (255, 255)),
        ({"alphaMode": "BLEND"}, (255, 100)),
        ({"alphaMode": "MASK"}, (255, 0)),
        ({"alphaMode": "MASK", "alphaCutoff": 0.2}, (255, 255)),
        ({"alphaMode": "MASK", "pbrMetallicRoughness": {"baseColorFactor": [1, 1, 1, 0.6]}}, (255, 0)),
    ],
)
def test_alpha_counts_as_the_gltf_mode_says(tmp_path: Path, material: dict[str, Any], alpha: tuple[int, int]) -> None:
    texture = gltf_sheet(tmp_path, material, stripes()).materials[0].texture
    assert tuple(np.unique(texture[..., 3])) == tuple(sorted(set(alpha)))
    assert (texture[..., :3] == (51, 204, 51)).all()


@pytest.mark.parametrize(("mode", "share"), [("OPAQUE", 1.0), ("BLEND", 0.25)])
def test_factors_of_gltf_are_linear_light_and_glass_where_they_blend(tmp_path: Path, mode: str, share: float) -> None:
    factor = {"pbrMetallicRoughness": {"baseColorFactor": [0.5, 0.0, 0.0, 0.25]}, "alphaMode": mode}
    colour = gltf_sheet(tmp_path, factor).materials[0].colour
    red = 1.055 * 0.5 ** (1 / 2.4) - 0.055
    assert np.allclose(colour, np.array([red, 0, 0]) * share + np.array(GLASS) * (1 - share), atol=0.01)


def test_colours_of_vertices_run_over_a_face() -> None:
    """At every pixel the colour is the mixture, in linear light, that the pixel's place in the triangle says."""
    triangle = trimesh.Trimesh([[-1, 0, -1], [1, 0, -1], [-1, 0, 1]], [[0, 1, 2]], process=False)
    colours = np.array([[150, 80, 80, 255], [80, 200, 90, 255], [90, 60, 180, 255]], dtype=np.uint8)
    triangle.visual = trimesh.visual.ColorVisuals(triangle, vertex_colors=colours)
    mesh = from_trimesh(triangle)
    camera = Cameras.orbit(1, elevation=0.0)
    view = next(EmbreeRenderer(1)(mesh, camera, (48, 48)))
    seen = (view["rgba"][..., 3] == 255).reshape(-1)
    rays = camera[0].rays((48, 48))
    points = rays.origins.numpy() + rays.directions.numpy() * view["depth"].reshape(-1, 1)
    corners = mesh.triangles[0][:, [0, 2]]
    system = np.concatenate([corners.T, np.ones((1, 3))])
    weights = np.linalg.solve(system, np.c_[points[seen][:, [0, 2]], np.ones(seen.sum())].T).T
    mixed = weights @ np.where(colours > 10, ((colours / 255 + 0.055) / 1.055) ** 2.4, np.nan)[:, :3]
    expected = 24 + (1.055 * mixed ** (1 / 2.4) - 0.055) * 231
    assert seen.sum() > 150
    assert np.abs(view["albedo"].reshape(-1, 3)[seen] - expected).max() < 4


def test_colours_of_small_faces_stay_in_their_places(tmp_path: Path) -> None:
    """Small faces, far away: the ball stays red above and blue below."""
    ball = trimesh.creation.icosphere(4)
    up = ball.vertices[:, 2] > 0
    ball.visual.vertex_colors = np.where(up[:, None], np.uint8([220, 30, 30, 255]), np.uint8([30, 30, 220, 255]))
    view = next(EmbreeRenderer(2)(from_trimesh(ball), Cameras.orbit(1, elevation=0.0), (24, 24)))
    albedo, solid = view["albedo"].astype(int), view["rgba"][..., 3] == 255
    rows = np.nonzero(solid)[0]
    above, below = albedo[solid][rows < 9], albedo[solid][rows > 14]
    assert (above[:, 0] > above[:, 2] + 100).all() and (below[:, 2] > below[:, 0] + 100).all()


def test_vertex_colours_tint_gltf_materials_without_a_texture(tmp_path: Path) -> None:
    scene = trimesh.Scene([trimesh.creation.box()])
    scene.geometry["geometry_0"].visual.vertex_colors = np.uint8([255, 128, 0, 255])
    header = trimesh.exchange.gltf.export_gltf(scene)
    for name, content in header.items():
        (tmp_path / name).write_bytes(content)
    tree = json.loads((tmp_path / "model.gltf").read_text())
    tree["materials"] = [{"name": "m", "pbrMetallicRoughness": {"baseColorFactor": [1, 1, 1, 1]}}]
    tree["meshes"][0]["primitives"][0]["material"] = 0
    mesh = load(tmp_path / "model.gltf", json.dumps(tree))
    green = 1.055 * (128 / 255) ** (1 / 2.4) - 0.055  # COLOR_0 is linear
    assert np.allclose(mesh.materials[0].colour, (1, green, 0), atol=0.01)


def test_both_sides_of_a_sheet_are_seen(tmp_path: Path) -> None:
    mesh = sheet(tmp_path, "Kd 0.9 0.1 0.1\n")
    sides = [next(EmbreeRenderer(1)(mesh, Cameras.orbit(1, elevation=e), (24, 24))) for e in (60.0, -60.0)]
    assert abs(int((sides[0]["rgba"][..., 3] > 0).sum()) - int((sides[1]["rgba"][..., 3] > 0).sum())) < 12
    assert all(view["albedo"][12, 12].argmax() == 0 for view in sides)
