"""Meshes become pictures that agree with the cameras."""

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from job_stand_ins import BLUE, GREEN, RED, coloured_box
from PIL import Image

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import DatasetError
from tunemv3d_core.view_selection import spread_views
from tunemv3d_data.meshes.mesh import RADIUS, Mesh, from_trimesh, load_mesh
from tunemv3d_data.meshes.recolour import repaint, variant
from tunemv3d_data.objects import SourceObject
from tunemv3d_data.renderers.embree import EmbreeRenderer
from tunemv3d_data.rendering.viewpoints import viewpoints
from tunemv3d_data.seeding import random_for
from tunemv3d_data.sources.reading import read_sources
from tunemv3d_data.sources.selection import select


def test_sphere_silhouette_depth_and_normals_are_analytic() -> None:
    mesh = from_trimesh(trimesh.creation.icosphere(5))
    camera = viewpoints("any", 6)[3:4]
    view = next(EmbreeRenderer(3)(mesh, camera, (96, 96)))
    rays = camera[0].rays((96, 96))
    origin, direction = rays.origins.double(), rays.directions.double()
    a, b = direction.square().sum(-1), (origin * direction).sum(-1)
    inside = (b**2 - a * (origin.square().sum(-1) - RADIUS**2)).reshape(96, 96)
    depth = ((-b - inside.reshape(-1).clamp(min=0).sqrt()) / a).reshape(96, 96).numpy()
    alpha = view["rgba"][..., 3]
    assert abs((alpha / 255).sum() - (inside > 0).sum().item()) < 0.01 * alpha.size * 0.3
    core = inside.numpy() > 0.3
    assert (alpha[core] == 255).all() and (alpha[inside.numpy() < -0.3] == 0).all()
    assert np.abs(view["depth"][core] - depth[core]).max() < 4e-3
    points = (origin + direction * torch.from_numpy(depth).reshape(-1, 1)).reshape(96, 96, 3).numpy() / RADIUS
    assert np.abs(view["normals"][core] - points[core]).max() < 0.05
    assert (view["depth"][alpha == 0] == 0).all() and (view["rgba"][alpha == 0] == 0).all()


def test_a_point_is_seen_where_the_camera_projects_it() -> None:
    """A small ball off the centre, beside a frame that fixes the scale: its pixels lie around its projection."""
    centre = np.array([0.5, -0.3, 0.2])
    ball = trimesh.creation.icosphere(3, radius=0.05)
    ball.apply_translation(centre)
    corners = [trimesh.creation.box((0.01, 0.01, 0.01)) for _ in range(2)]
    corners[0].apply_translation([-0.7] * 3)
    corners[1].apply_translation([0.7] * 3)
    mesh = from_trimesh(trimesh.Scene([ball, *corners]))
    scale = RADIUS / np.linalg.norm([0.705] * 3)
    cameras = viewpoints("ball", 8)
    pixels, depth = cameras.project(torch.from_numpy(centre * scale).float()[None].expand(8, 1, 3))
    for index, view in enumerate(EmbreeRenderer(3)(mesh, cameras, (128, 128))):
        y, x = np.nonzero(view["material"] == 0)
        measured = (np.array([x.mean(), y.mean()]) + 0.5) / 128
        assert np.abs(measured - pixels[index, 0].numpy()).max() < 1.0 / 128
        assert view["depth"][y, x].min() == pytest.approx(depth[index, 0].item() - 0.05 * scale, abs=5e-3)


def test_azimuth_0_sees_the_front_and_90_the_side_at_plus_x() -> None:
    mesh = from_trimesh(coloured_box())
    front, right = EmbreeRenderer(2)(mesh, Cameras.orbit(4, elevation=0.0)[:2], (32, 32))
    assert front["albedo"][16, 16].argmax() == 0 and right["albedo"][16, 16].argmax() == 1


@pytest.mark.parametrize(("suffix", "up", "front"), [("glb", 1, (2, 1)), ("ply", 2, (1, -1))])
def test_files_stand_upright_with_their_front_to_minus_y(
    tmp_path: Path, suffix: str, up: int, front: tuple[int, int]
) -> None:
    """GLB is y up with the front at +z, PLY z up with the front at -y."""
    extents = [1.0, 1.0, 1.0]
    extents[up] = 3.0
    tower = trimesh.creation.box(extents)
    tower.unmerge_vertices()
    colours = np.tile(np.uint8(BLUE), (len(tower.faces), 1))
    axis, sign = front
    colours[tower.face_normals[:, axis] * sign > 0.9] = RED
    tower.visual.vertex_colors = np.repeat(colours, 3, axis=0)
    tower.export(tmp_path / f"tower.{suffix}")
    mesh = load_mesh(read_sources(tmp_path)[0])
    assert mesh.size[2] == pytest.approx(3 * mesh.size[0], rel=1e-4)
    assert next(EmbreeRenderer(1)(mesh, Cameras.orbit(1, elevation=0.0), (16, 16)))["albedo"][8, 8].argmax() == 0


def test_lights_are_fixed_in_the_world_and_shine_on_both_sides() -> None:
    """One point has one colour in all views; a sheet turned inside out looks the same."""
    mesh = from_trimesh(coloured_box())
    top = [
        view["rgba"][..., :3][view["normals"][..., 2] > 0.99]
        for view in EmbreeRenderer(1)(mesh, viewpoints("a", 6), (48, 48))
    ]
    colours = np.concatenate([pixels for pixels in top if len(pixels)])
    assert np.ptp(colours.astype(int), axis=0).max() <= 1
    inverted = coloured_box()
    inverted.invert()
    same = [next(EmbreeRenderer(2)(m, viewpoints("a", 2), (32, 32)))["rgba"] for m in (mesh, from_trimesh(inverted))]
    assert np.array_equal(*same)


def test_texture_lookup_and_see_through_texels() -> None:
    """A quad with four texels: three colours where they belong, and a hole where alpha is 0."""
    texture = Image.fromarray(np.array([[RED, GREEN], [BLUE, (9, 9, 9, 0)]], dtype=np.uint8)).resize((64, 64), 0)
    quad = trimesh.Trimesh([[-1, 0, -1], [1, 0, -1], [1, 0, 1], [-1, 0, 1]], [[0, 1, 2], [0, 2, 3]], process=False)
    material = trimesh.visual.material.SimpleMaterial(image=texture)
    quad.visual = trimesh.visual.TextureVisuals(uv=[[0, 0], [1, 0], [1, 1], [0, 1]], material=material)
    view = next(EmbreeRenderer(3)(from_trimesh(quad), Cameras.orbit(1, elevation=0.0), (64, 64)))
    seen = view["rgba"]
    assert [seen[y, x, :3].argmax() for y, x in ((22, 22), (22, 42), (42, 22))] == [0, 1, 2]
    assert seen[42, 42, 3] == 0 and seen[22, 22, 3] == 255


def test_alpha_is_straight() -> None:
    """Half covered pixels keep the surface's colour; they are not darkened towards the background."""
    ball = trimesh.creation.icosphere(4)
    ball.visual.face_colors = RED
    rgba = next(EmbreeRenderer(3)(from_trimesh(ball), viewpoints("b", 2), (48, 48)))["rgba"]
    rim = rgba[(rgba[..., 3] > 0) & (rgba[..., 3] < 200)]
    assert len(rim) > 20 and (rim[:, 0] > 120).all() and (rim[:, 1] < 90).all()


def test_viewpoints_are_the_promised_ones() -> None:
    cameras = viewpoints("chair", 24).check()
    eyes = cameras.origins
    assert torch.allclose(eyes.norm(dim=-1), torch.full((24,), 2.7)) and (cameras.intrinsics[:, 0] == 1.3).all()
    elevation = torch.rad2deg(torch.asin(eyes[:, 2] / 2.7))
    assert torch.allclose(elevation[:8], torch.full((8,), 20.0), atol=1e-3)
    assert elevation[8:].min() > -10 and elevation[8:].max() < 60
    ring = torch.atan2(eyes[:8, 0], -eyes[:8, 1])
    assert torch.allclose(torch.rad2deg(ring.diff()) % 360, torch.full((7,), 45.0), atol=1e-2)
    assert not torch.allclose(eyes, viewpoints("table", 24).origins)


@pytest.mark.parametrize("views", [12, 24, 32, 48, 96])
def test_eight_input_views_go_around_the_object_whatever_was_rendered(views: int) -> None:
    """What training and evaluation take as input views: 45 degrees apart where the ring allows it, at most 60."""
    for name in ("chair", "table", "lamp"):
        cameras = viewpoints(name, views)
        x, y, _ = cameras.origins[spread_views(cameras, 8)].T
        azimuths = torch.rad2deg(torch.atan2(x, -y)).sort().values
        gaps = torch.diff(azimuths, append=azimuths[:1] + 360)
        assert gaps.max() < (45.1 if views in (24, 48, 96) else 60)


def test_variants_repeat_and_differ() -> None:
    mesh = from_trimesh(coloured_box())
    one, same, other = variant(mesh, "box", 1), variant(mesh, "box", 1), variant(mesh, "box", 2)
    assert np.array_equal(one.triangles, same.triangles) and not np.allclose(one.size, other.size)
    assert np.array_equal(one.materials[0].texture, same.materials[0].texture)
    assert np.abs(np.linalg.norm(one.triangles.reshape(-1, 3), axis=1).max() - RADIUS) < 1e-5


def test_repainting_keeps_the_pattern_of_a_texture() -> None:
    stripes = np.full((16, 16, 4), 255, dtype=np.uint8)
    stripes[::2, :, :3] = 90
    box = trimesh.creation.box()
    image = Image.fromarray(stripes)
    uv = np.random.default_rng(0).random((len(box.vertices), 2))
    box.visual = trimesh.visual.TextureVisuals(uv=uv, material=trimesh.visual.material.SimpleMaterial(image=image))
    painted: Mesh = repaint(from_trimesh(box), "blue", random_for("x"))
    texture = painted.materials[0].texture.astype(int)
    assert texture[1, 0, 2] > texture[0, 0, 2] + 20 and (texture[..., 2] > texture[..., 0] + 20).all()


def tiny_library(path: Path, member: str = "models/seat/seat.obj") -> Path:
    """A .sh3f with one lying box: the catalogue's rotation stands it up."""
    catalogue = (
        "name=Tiny\nversion=1.0\nlicense=Creative Commons Attribution 3.0 license\n"
        "id#1=Tiny#seat\nname#1=Chaise \\u00e9troite chair\ntags#1=Seat, Wood\ncategory#1=Office\n"
        f"model#1=/{member}\nheight#1=90\ncreator#1=Someone\nmodelRotation#1=1 0 0 0 0 1 0 -1 0\n"
    )
    box = trimesh.creation.box((1, 1, 3))
    obj = "mtllib seat.mtl\nusemtl paint\n" + trimesh.exchange.obj.export_obj(box, include_normals=False)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("PluginFurnitureCatalog.properties", catalogue.encode("latin-1"))
        archive.writestr(member, obj)
        archive.writestr("models/seat/seat.mtl", "newmtl paint\nKd 0.9 0.1 0.1\n")
    return path


def test_sweet_home_library_is_read_with_rotation_colour_and_credits(tmp_path: Path) -> None:
    source = read_sources(tiny_library(tmp_path / "tiny.sh3f"))[0]
    assert (source.id, source.name, source.creator) == ("tiny-seat", "Chaise étroite chair", "Someone")
    assert (source.licence, source.tags, source.height) == ("CC-BY-3.0", ("Seat", "Wood"), 90.0)
    door = replace(source, id="door")
    (tmp_path / "ids.txt").write_text("# furniture\ndoor  # of the hall\ntiny-seat\n")
    assert select([source, door], "all") == [source, door]
    assert select([source, door], str(tmp_path / "ids.txt")) == [door, source]
    mesh = load_mesh(source)
    assert mesh.size[2] == pytest.approx(3 * mesh.size[0], rel=1e-4)
    assert np.allclose(mesh.materials[0].colour, [0.9, 0.1, 0.1], atol=0.01)


def test_members_that_leave_the_library_are_refused(tmp_path: Path) -> None:
    for number, member in enumerate(("../evil.obj", "/etc/evil.obj", "a/../../evil.obj", "..\\evil.obj")):
        path = tmp_path / f"{number}.sh3f"
        tiny_library(path)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(member, "x")
        with pytest.raises(DatasetError, match="refused"):
            read_sources(path)


def test_bad_input_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such file"):
        read_sources(tmp_path / "nothing")
    (tmp_path / "x.sh3f").write_bytes(b"PK no")
    with pytest.raises(DatasetError, match=r"x\.sh3f"):
        read_sources(tmp_path / "x.sh3f")
    ids = tmp_path / "ids.txt"
    ids.write_text("nobody\n")
    with pytest.raises(DatasetError, match="nobody"):
        select([SourceObject(id="a", path=tmp_path)], str(ids))
