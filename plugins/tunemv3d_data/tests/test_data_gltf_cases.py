"""Whole glTF files of other programs, and what becomes of them on the way to pictures."""

from pathlib import Path

import numpy as np
import pytest
import trimesh
from gltf_files import Gltf

from tunemv3d_core.cameras import Cameras
from tunemv3d_data.colours import colour_name
from tunemv3d_data.files import Folder
from tunemv3d_data.meshes.gltf.read import read_gltf
from tunemv3d_data.meshes.mesh import Mesh, assembled, load_mesh
from tunemv3d_data.meshes.neighbours import Neighbours
from tunemv3d_data.meshes.recolour import repaint
from tunemv3d_data.objects import SourceObject
from tunemv3d_data.renderers.light import FLAT
from tunemv3d_data.rendering.one_object import build_renderer

INPUTS = Path(__file__).parent / "inputs" / "meshes"


def read(name: str) -> Mesh:
    return load_mesh(SourceObject(id="x", path=INPUTS / name))


def test_the_texture_transforms_case_is_blue() -> None:
    view = next(build_renderer("embree")(read("textransform.glb"), Cameras.orbit(1, elevation=0.0), (32, 32), FLAT))
    red, _, blue = view["albedo"][10:22, 10:22].reshape(-1, 3).mean(0)
    assert blue > 200 and red < 60


def test_the_linear_vertex_colours_case_is_128_of_255() -> None:
    view = next(
        build_renderer("embree")(read("linear_vertex_colour.glb"), Cameras.orbit(1, elevation=0.0), (32, 32), FLAT)
    )
    assert np.abs((view["albedo"][10:22, 10:22].astype(float) - 24) * 255 / 231 - 128).max() < 2


def test_the_emissive_case_shows_its_light() -> None:
    assert read("emissive.glb").materials[0].colour.max() > 0.9


def test_the_skinned_case_has_both_parts_in_one_place() -> None:
    mesh = read("skinned_offset.glb")
    assert np.ptp(mesh.triangles[..., 0]) == pytest.approx(np.ptp(mesh.triangles[..., 2]), rel=1e-5)


def test_the_quantised_case_has_two_squares_three_apart() -> None:
    size = read("quantized.glb").size
    assert size[0] / size[2] == pytest.approx(4, rel=1e-4)


def test_the_quantised_chair_is_the_plain_one() -> None:
    plain, quantised = read("chair_plain.glb"), read("chair_quantized.glb")
    assert np.allclose(plain.size, quantised.size, atol=2e-4)
    assert plain.areas().sum() == pytest.approx(quantised.areas().sum(), rel=1e-3)
    centres = [np.sort(mesh.triangles.mean(1), axis=0) for mesh in (plain, quantised)]
    assert np.allclose(*centres, atol=1e-3)


def test_the_case_with_two_models_has_the_colours_of_metallic_roughness() -> None:
    mesh = read("specgloss_0.5.glb")
    colours = np.stack([material.colour for material in mesh.materials])[mesh.material]
    view = next(build_renderer("embree")(mesh, Cameras.orbit(1), (64, 64), FLAT))
    whole = view["rgba"][..., 3] == 255
    mean = ((view["albedo"][whole].mean(0) - 24) / 231).round(2)
    assert colours.max() < 0.95 and mean[2] < 0.3 < mean[0]


def test_a_coloured_object_takes_the_paint_of_a_variant() -> None:
    """Each corner had a colour of its own; all of them are shades of red afterwards, and light stays light."""
    ball = trimesh.creation.icosphere(3)
    gltf = Gltf()
    colours = np.abs(ball.vertices).astype(np.float32)
    gltf.mesh(
        ball.vertices.astype(np.float32), ball.faces.astype(np.uint16).reshape(-1), attributes={"COLOR_0": colours}
    )
    parts = read_gltf(gltf.glb(), Neighbours(Folder(Path("/nowhere")), "made.glb"), 10_000)
    mesh = repaint(assembled(parts), "red", np.random.default_rng(0))
    view = next(build_renderer("embree")(mesh, Cameras.orbit(1), (48, 48), FLAT))
    albedo = view["albedo"][view["rgba"][..., 3] == 255].astype(float)
    names = [colour_name(colour) for colour in albedo[::7]]
    assert np.mean([name in ("red", "pink", "brown") for name in names]) > 0.95
    assert albedo[:, 0].std() > 5
