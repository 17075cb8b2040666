"""Blender in its own process: how it is found, what it says when it fails, and what it makes."""

import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
import trimesh

from tunemv3d_core.errors import ComponentError, DatasetError
from tunemv3d_data.meshes import blender as meshes_blender
from tunemv3d_data.meshes.mesh import from_trimesh
from tunemv3d_data.renderers import blender
from tunemv3d_data.renderers.light import FLAT, STUDIO, Light
from tunemv3d_data.rendering.viewpoints import viewpoints
from tunemv3d_data.spec import BlenderSpec


def installed() -> bool:
    try:
        return bool(meshes_blender.find_blender())
    except ComponentError:
        return False


needs_blender = pytest.mark.skipif(not installed(), reason="no Blender")
needs_openexr = pytest.mark.skipif(importlib.util.find_spec("OpenEXR") is None, reason="no OpenEXR")


def fake_blender(folder: Path, script: str) -> Path:
    program = folder / "blender"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


def test_no_blender_is_one_message_that_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(meshes_blender.VARIABLE, raising=False)
    if importlib.util.find_spec("bpy") is None:
        with pytest.raises(ComponentError, match=r"pip install bpy.*TUNEMV3D_BLENDER"):
            meshes_blender.find_blender()
    with pytest.raises(ComponentError, match="nowhere"):
        meshes_blender.find_blender("nowhere")
    program = fake_blender(tmp_path, "true")
    assert meshes_blender.find_blender(str(program)) == str(program)
    monkeypatch.setenv(meshes_blender.VARIABLE, str(program))
    assert meshes_blender.find_blender() == str(program)


def test_an_executable_runs_the_script_in_the_background_and_its_last_words_are_kept(tmp_path: Path) -> None:
    program = fake_blender(tmp_path, 'echo "$@" > "${0%/*}/arguments"; echo lots; echo "it broke" >&2; exit 1')
    source = tmp_path / "chair.fbx"
    source.write_bytes(b"x")
    with pytest.raises(DatasetError, match=r"chair\.fbx.*it broke"):
        meshes_blender.to_glb(source, str(program))
    arguments = (tmp_path / "arguments").read_text().split()
    assert "--background" in arguments and arguments[arguments.index("--python") + 1].endswith("convert.py")
    assert arguments[arguments.index("--") + 1] == str(source)


def test_the_linear_lights_brighten_a_grey_surface_as_the_light_says() -> None:
    """Radiance of a white surface: a + b n_z from the sky (b is 2/3 of its slope), cosine x energy / pi from suns."""
    for light, near in ((FLAT, 1e-6), (Light(0.8, 0.1), 0.01), (STUDIO, 0.04)):
        physical = blender._physical(light)
        normals = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        linear = physical["ambient"] + physical["sky"] * 2 / 3 * normals[:, 2]
        for direction, energy in physical["suns"]:
            linear = linear + energy / np.pi * np.clip(normals @ np.array(direction), 0, None)
        assert np.abs(linear ** (1 / 2.2) - light.on(normals)).max() < near


@pytest.mark.slow
@needs_blender
@needs_openexr
def test_sheets_that_lie_on_one_another_are_not_in_each_others_shadow() -> None:
    """Two triangulations of one square, one for each side: as bright as the square alone."""
    corners = [[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]
    renderer = blender.BlenderRenderer(BlenderSpec(samples=16, denoise=False))
    alone, doubled = (
        next(renderer(from_trimesh(trimesh.Trimesh(corners, faces, process=False)), viewpoints("s", 1), (32, 32)))[
            "rgba"
        ]
        for faces in ([[0, 1, 2], [0, 2, 3]], [[0, 1, 2], [0, 2, 3], [3, 1, 0], [3, 2, 1]])
    )
    whole = alone[..., 3] == 255
    assert np.abs(alone[whole].mean(0) - doubled[whole].mean(0)).max() < 4


@pytest.mark.slow
@needs_blender
@needs_openexr
def test_an_even_light_gives_the_surface_its_own_colour() -> None:
    ball = trimesh.creation.icosphere(3)
    ball.visual.face_colors = (200, 60, 30, 255)
    renderer = blender.BlenderRenderer(BlenderSpec(samples=16, denoise=False))
    view = next(renderer(from_trimesh(ball), viewpoints("ball", 1), (32, 32), FLAT))
    whole = view["rgba"][..., 3] == 255
    assert whole.sum() > 100
    assert np.abs(view["rgba"][whole][:, :3].mean(0) - view["albedo"][whole].mean(0)).max() < 3
    assert np.abs(view["albedo"][whole].mean(0) - (24 + np.array([200, 60, 30]) * 231 / 255)).max() < 1


@pytest.mark.slow
@needs_blender
@needs_openexr
def test_an_hdri_lights_the_object(tmp_path: Path) -> None:
    import OpenEXR

    pixels = np.zeros((8, 16, 3), dtype=np.float32)
    pixels[:4] = (0.0, 0.0, 0.6)
    pixels[4:] = (0.6, 0.0, 0.0)
    OpenEXR.File({"type": OpenEXR.scanlineimage}, {"RGB": pixels}).write(str(tmp_path / "sky.exr"))
    spec = BlenderSpec(samples=16, denoise=False, hdri=str(tmp_path / "sky.exr"))
    view = next(
        blender.BlenderRenderer(spec)(from_trimesh(trimesh.creation.icosphere(3)), viewpoints("b", 1), (32, 32))
    )
    up = view["rgba"][view["normals"][..., 2] > 0.8].mean(0)
    down = view["rgba"][view["normals"][..., 2] < -0.5].mean(0)
    assert up[2] > up[0] + 50 and down[0] > down[2] + 50
    with pytest.raises(ComponentError, match=r"hdri.*nothing\.hdr"):
        blender.BlenderRenderer(BlenderSpec(hdri=str(tmp_path / "nothing.hdr")))


@pytest.mark.slow
@needs_blender
def test_formats_that_only_blender_reads_become_glb(tmp_path: Path) -> None:
    usd = tmp_path / "box.usda"
    usd.write_text(
        '#usda 1.0\n(upAxis = "Z"\nmetersPerUnit = 1)\ndef Mesh "box" {\nint[] faceVertexCounts = [3, 3]\n'
        "int[] faceVertexIndices = [0, 1, 2, 0, 2, 3]\npoint3f[] points = [(0,0,0), (2,0,0), (2,0,1), (0,0,1)]\n}\n"
    )
    loaded = trimesh.load(io.BytesIO(meshes_blender.to_glb(usd)), file_type="glb")
    assert np.allclose(loaded.extents, [2, 1, 0], atol=1e-5), "GLB is y up"
    with pytest.raises(DatasetError, match=r"odd\.xyz.*no importer"):
        meshes_blender.to_glb(usd.rename(tmp_path / "odd.xyz"))
    (tmp_path / "broken.fbx").write_bytes(b"not a scene")
    with pytest.raises(DatasetError, match=r"broken\.fbx"):
        meshes_blender.to_glb(tmp_path / "broken.fbx")
