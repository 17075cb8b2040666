"""The mesh renderers agree with analytic shapes in float64, and with one another."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from gltf_files import UV, Gltf
from PIL import Image

from tunemv3d_core.cameras import Cameras, pixel_centres
from tunemv3d_core.errors import ComponentError
from tunemv3d_core.slots import TexturedMesh
from tunemv3d_data.meshes.mesh import RADIUS, Mesh, from_trimesh
from tunemv3d_data.renderers import auto
from tunemv3d_data.renderers.blender import find_blender
from tunemv3d_data.renderers.light import FLAT, Light, random_light
from tunemv3d_data.rendering.one_object import build_renderer
from tunemv3d_data.rendering.viewpoints import viewpoints

SIZE = 64


def renderer_or_skip(name: str) -> Any:
    if name == "moderngl" and (why := auto.why_not_moderngl()):
        pytest.skip(f"no OpenGL: {why}")
    if name == "blender":
        if importlib.util.find_spec("OpenEXR") is None:
            pytest.skip("no OpenEXR")
        try:
            find_blender()
        except ComponentError:
            pytest.skip("no Blender")
    return build_renderer(name)


@pytest.fixture(scope="module", params=["embree", "moderngl", pytest.param("blender", marks=pytest.mark.slow)])
def renderer(request: pytest.FixtureRequest) -> Iterator[Any]:
    yield renderer_or_skip(request.param)


@pytest.fixture(scope="module", params=["moderngl", pytest.param("blender", marks=pytest.mark.slow)])
def other(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A renderer to compare with embree."""
    yield renderer_or_skip(request.param)


def stacked(views: Iterator[dict[str, Any]]) -> dict[str, Any]:
    found = list(views)
    return {name: np.stack([view[name] for view in found]) for name in found[0]}


def sample_rays(cameras: Cameras) -> tuple[Any, Any]:
    """Origins and directions of the 2 x 2 samples of every pixel in float64, ``n h 2 w 2 3``."""
    rays = cameras.to(torch.float64).rays((0, 0), pixel_centres((2 * SIZE, 2 * SIZE), dtype=torch.float64))
    shape = (cameras.shape[0], SIZE, 2, SIZE, 2, 3)
    return rays.origins.reshape(shape).numpy(), rays.directions.reshape(shape).numpy()


def agrees(view: dict[str, Any], depth: Any) -> None:
    """Alpha is the share of samples that hit (depth not nan), depth the mean over the nearest ones."""
    share = np.isfinite(depth).mean((2, 4))
    wrong = np.abs(view["rgba"][..., 3] / 255 - share) > 0.01
    assert wrong.mean() < 2e-3, "only samples that graze the shape may differ"
    whole = (share == 1) & (view["rgba"][..., 3] == 255)
    assert whole.sum() > 500
    front = depth <= depth.min((2, 4), keepdims=True) * 1.02
    expected = np.where(front, depth, 0).sum((2, 4)) / np.maximum(front.sum((2, 4)), 1)
    assert np.quantile(np.abs(view["depth"] - expected)[whole], 0.995) < 1e-3
    assert ((view["depth"] > 0) == (view["rgba"][..., 3] > 0)).all()
    assert ((view["material"] >= 0) == (view["rgba"][..., 3] > 0)).all()
    assert (view["rgba"][view["rgba"][..., 3] == 0] == 0).all()


def test_a_sphere_has_its_silhouette_depth_and_normals(renderer: Any) -> None:
    cameras = viewpoints("sphere", 3)
    view = stacked(renderer(from_trimesh(trimesh.creation.icosphere(6)), cameras, (SIZE, SIZE)))
    origins, directions = sample_rays(cameras)
    a, b = (directions**2).sum(-1), (origins * directions).sum(-1)
    with np.errstate(invalid="ignore"):
        depth = (-b - np.sqrt(b**2 - a * ((origins**2).sum(-1) - RADIUS**2))) / a
    agrees(view, depth)
    points = (origins + depth[..., None] * directions).mean((2, 4))
    core = np.isfinite(points[..., 0])
    cosine = (view["normals"] * points).sum(-1)[core] / np.linalg.norm(points[core], axis=-1)
    assert np.quantile(cosine, 0.005) > 0.998
    assert np.allclose(np.linalg.norm(view["normals"][core], axis=-1), 1, atol=1e-3)


def test_a_turned_box_has_its_silhouette_and_depth(renderer: Any) -> None:
    turn = trimesh.transformations.euler_matrix(0.3, 0.5, 0.7)
    mesh = from_trimesh(trimesh.creation.box((1.0, 0.7, 1.4)), turn[:3, :3])
    corners = (mesh.triangles.reshape(-1, 3).astype(np.float64)) @ turn[:3, :3]
    low, high = corners.min(0), corners.max(0)
    cameras = viewpoints("box", 3)
    origins, directions = (values @ turn[:3, :3] for values in sample_rays(cameras))
    first, second = (low - origins) / directions, (high - origins) / directions
    near, far = np.minimum(first, second).max(-1), np.maximum(first, second).min(-1)
    agrees(stacked(renderer(mesh, cameras, (SIZE, SIZE))), np.where(near <= far, near, np.nan))


def test_off_centre_cameras_and_other_focal_lengths(renderer: Any) -> None:
    cameras = Cameras.look_at(torch.tensor([[1.5, -2.0, 0.8]]), 1.1, target=torch.tensor([0.3, 0.1, -0.2]))
    shifted = Cameras(cameras.camera_to_world, torch.tensor([[1.1, 1.1, 0.45, 0.6]]))
    view = stacked(renderer(from_trimesh(trimesh.creation.icosphere(6)), shifted, (SIZE, SIZE)))
    origins, directions = sample_rays(shifted)
    a, b = (directions**2).sum(-1), (origins * directions).sum(-1)
    with np.errstate(invalid="ignore"):
        agrees(view, (-b - np.sqrt(b**2 - a * ((origins**2).sum(-1) - RADIUS**2))) / a)


def pattern() -> Image.Image:
    """Coloured squares; one in four is a hole."""
    cells = np.array([[(220, 40, 40, 255), (40, 160, 60, 255)], [(60, 70, 200, 255), (9, 9, 9, 0)]], dtype=np.uint8)
    return Image.fromarray(np.tile(cells, (4, 4, 1))).resize((256, 256), Image.Resampling.NEAREST)


def made_object() -> Mesh:
    """What real files hold: a repeating texture with holes, thin legs mirrored by their nodes, an inside-out ball with
    vertex colours, a sheet with both its sides.
    """
    top = trimesh.Trimesh(
        [[-1, -1, 0.4], [1, -1, 0.4], [1, 1, 0.4], [-1, 1, 0.4]], [[0, 1, 2], [0, 2, 3]], process=False
    )
    material = trimesh.visual.material.SimpleMaterial(image=pattern())
    top.visual = trimesh.visual.TextureVisuals(uv=[[-0.3, 0], [1.2, 0], [1.2, 1.5], [-0.3, 1.5]], material=material)
    scene = trimesh.Scene([top])
    leg = trimesh.creation.cylinder(0.025, 1.4, sections=12)
    leg.visual = trimesh.visual.TextureVisuals(material=trimesh.visual.material.SimpleMaterial(diffuse=(90, 60, 30)))
    for x in (-0.9, 0.9):
        for y in (-0.9, 0.9):
            place = np.diag([np.sign(x), np.sign(y), 1.0, 1.0])
            place[:3, 3] = (x, y, -0.3)
            scene.add_geometry(leg, transform=place)
    ball = trimesh.creation.icosphere(3, radius=0.35)
    ball.invert()
    ball.visual.vertex_colors = np.column_stack([128 + 300 * ball.vertices, np.full(len(ball.vertices), 255)]).clip(
        0, 255
    )
    scene.add_geometry(ball)
    sheet = trimesh.Trimesh([[-1, 0, -1], [1, 0, -1], [1, 0.2, -0.6]], [[0, 1, 2], [2, 1, 0]], process=False)
    sheet.visual = trimesh.visual.TextureVisuals(
        material=trimesh.visual.material.SimpleMaterial(diffuse=(240, 200, 60))
    )
    scene.add_geometry(sheet)
    return from_trimesh(scene)


def test_a_made_object_looks_the_same_in_embree(other: Any) -> None:
    mesh, cameras = made_object(), viewpoints("made", 6)
    expected, found = (stacked(r(mesh, cameras, (96, 96), FLAT)) for r in (build_renderer("embree"), other))
    shown, expected_shown = found["rgba"][..., 3] > 127, expected["rgba"][..., 3] > 127
    assert (shown & expected_shown).sum() / (shown | expected_shown).sum() > 0.99
    whole = (found["rgba"][..., 3] == 255) & (expected["rgba"][..., 3] == 255)
    assert whole.mean() > 0.1
    relative = np.abs(found["depth"] - expected["depth"])[whole] / expected["depth"][whole]
    assert relative.mean() < 1e-3 and (relative > 0.01).mean() < 0.01
    assert np.abs(found["albedo"].astype(int) - expected["albedo"])[whole].mean() < 1.5
    assert ((found["normals"] * expected["normals"]).sum(-1)[whole] > 0.99).mean() > 0.98
    assert (found["material"] == expected["material"])[whole].mean() > 0.97


def gltf_surfaces(folder: Path) -> Mesh:
    """What glTF's materials add: wrap modes, nearest texels, colours of corners times a texture, single sides."""
    gltf = Gltf()
    texture = np.asarray(pattern().resize((16, 16)))
    ball = trimesh.creation.icosphere(3, radius=0.6)
    for number, (u, v, filter_) in enumerate([(33071, 33648, 9729), (33648, 10497, 9729), (10497, 33071, 9728)]):
        info = {"index": gltf.picture(texture, wrapS=u, wrapT=v, magFilter=filter_)}
        look = gltf.material(pbrMetallicRoughness={"baseColorTexture": info}, alphaMode="MASK", doubleSided=True)
        attributes: dict[str, Any] = {"TEXCOORD_0": UV * np.float32(3.3) - np.float32(1.2)}
        if number == 1:
            attributes["COLOR_0"] = np.float32([[1, 0.2, 0.2, 1], [1, 1, 0.1, 0.2], [0.3, 0.9, 1, 1], [1, 1, 1, 1]])
        gltf.mesh(attributes=attributes, material=look, node={"translation": [2.2 * number - 2.2, 0, 0]})
    for x, sides in ((-1.1, True), (1.1, False)):
        half = ball.faces[ball.triangles_center[:, 1] < 0.2].astype(np.uint16).reshape(-1)
        colours = np.abs(ball.vertices / 0.6).astype(np.float32)
        look = gltf.material(doubleSided=sides)
        attributes = {"COLOR_0": colours}
        node = {"translation": [x, 1.8, 0.0]}
        gltf.mesh(ball.vertices.astype(np.float32), half, node, attributes=attributes, material=look)
    return gltf.load(folder)


def test_surfaces_of_gltf_look_the_same_in_embree(other: Any, tmp_path: Path) -> None:
    mesh, cameras = gltf_surfaces(tmp_path), viewpoints("gltf", 6)
    expected, found = (stacked(r(mesh, cameras, (96, 96), FLAT)) for r in (build_renderer("embree"), other))
    shown, expected_shown = found["rgba"][..., 3] > 127, expected["rgba"][..., 3] > 127
    assert (shown & expected_shown).sum() / (shown | expected_shown).sum() > 0.99
    whole = (found["rgba"][..., 3] == 255) & (expected["rgba"][..., 3] == 255)
    assert whole.mean() > 0.05
    assert np.abs(found["albedo"].astype(int) - expected["albedo"])[whole].mean() < 2
    assert ((found["normals"] * expected["normals"]).sum(-1)[whole] > 0.99).mean() > 0.98


@pytest.mark.parametrize("light", [random_light(np.random.default_rng(3)), FLAT, Light(0.2, -0.1)])
def test_moderngl_shades_as_embree_does(light: Light) -> None:
    mesh, cameras = made_object(), viewpoints("shade", 3)
    views = [
        stacked(r(mesh, cameras, (48, 48), light)) for r in (build_renderer("embree"), renderer_or_skip("moderngl"))
    ]
    whole = (views[0]["rgba"][..., 3] == 255) & (views[1]["rgba"][..., 3] == 255)
    difference = np.abs(views[0]["rgba"][whole].astype(int) - views[1]["rgba"][whole]).max(-1)
    assert (difference <= 1).mean() > 0.97 and (difference > 8).mean() < 0.01


def test_both_sides_of_a_sheet_face_the_viewer(renderer: Any) -> None:
    sheet = trimesh.Trimesh([[-1, 0, -1], [1, 0, -1], [1, 0, 1], [-1, 0, 1]], [[0, 1, 2], [0, 2, 3]], process=False)
    front, back = renderer(from_trimesh(sheet), Cameras.orbit(2, elevation=0.0), (SIZE, SIZE))
    middle = SIZE // 2
    assert np.allclose(front["normals"][middle, middle], [0, -1, 0], atol=1e-3)
    assert np.allclose(back["normals"][middle, middle], [0, 1, 0], atol=1e-3)


def test_a_mesh_of_the_slot_mesher_shows_its_texture(renderer: Any) -> None:
    """A square that faces the camera, whose left half is red and whose right half is blue; one corner has two UVs."""
    vertices = np.array([[0, 0.5, -0.5], [0, -0.5, -0.5], [0, -0.5, 0.5], [0, 0.5, 0.5]], dtype=np.float32)
    faces, uv_faces = np.array([[0, 2, 1], [0, 3, 2]], dtype=np.int32), np.array([[0, 2, 1], [4, 3, 2]], dtype=np.int32)
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]], dtype=np.float32)
    texture = np.zeros((64, 64, 3), dtype=np.uint8)
    texture[:, :32, 0], texture[:, 32:, 2] = 200, 180
    normals = np.tile(np.array([[1, 0, 0]], dtype=np.float32), (4, 1))
    owners = np.array([0, 1, 2, 3, 0], dtype=np.int32)
    mesh = TexturedMesh(vertices, faces, normals, np.zeros((4, 3), np.uint8), uv, owners, uv_faces, texture)
    camera = Cameras.look_at(torch.tensor([[2.7, 0.0, 0.0]]))
    (view,) = renderer(mesh, camera, (SIZE, SIZE))
    seen = view["rgba"][..., 3] > 128
    rows, columns = np.nonzero(seen)
    # Focal length 1.3 of the picture's side at distance 2.7: the square of side 1 covers 1.3 / 2.7 of it.
    assert abs((np.ptp(columns) + 1) / SIZE - 1.3 / 2.7) < 2 / SIZE and abs(np.ptp(rows) - np.ptp(columns)) <= 1
    # Seen from +x with z up, the picture's left is -y, where u is 1: the texture's right half, blue. Renderers lighten
    # what is darker than 24 of 255.
    left, right = view["albedo"][32, columns.min() + 3 : 30], view["albedo"][32, 34 : columns.max() - 2]
    assert np.abs(left.astype(int) - [24, 24, 180]).max() < 8 and np.abs(right.astype(int) - [200, 24, 24]).max() < 8
    with pytest.raises(TypeError, match="TexturedMesh, not str"):
        next(iter(renderer("mesh", camera, (SIZE, SIZE))))
