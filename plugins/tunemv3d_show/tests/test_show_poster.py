"""A mesh's still: a textured ball, whose outline and colours are known, and what a browser without WebGL shows."""

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import show_browser
import show_toys as toys
from PIL import Image
from show_browser import Browser, needs_chromium

from tunemv3d_core.io.generated import GeneratedBy
from tunemv3d_core.io.glb import glb
from tunemv3d_core.slots import TexturedMesh
from tunemv3d_show.compact import small_mesh
from tunemv3d_show.compose import write_page
from tunemv3d_show.gather import gather
from tunemv3d_show.poster import SIDE, poster


def test_a_ball_fills_the_still_as_far_as_its_camera_says_and_has_its_colours() -> None:
    with Image.open(io.BytesIO(poster(toys.textured_ball(0.5)))) as picture:
        assert picture.size == (SIDE, SIDE)
        pixels = np.asarray(picture.convert("RGBA")).astype(float)
    # From 1.05 times the distance at which a field of view of 30 degrees holds it.
    radius = np.tan(np.arcsin(np.sin(np.radians(15)) / 1.05)) / np.tan(np.radians(15)) * SIDE / 2
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5 - SIDE / 2
    away = np.hypot(x, y)
    assert (pixels[away < radius - 3, 3] == 255).mean() > 0.999 and (pixels[away > radius + 3, 3] == 0).all()
    # In the middle stands the point that faces the camera, 25 degrees around from z and 18 degrees up towards y.
    facing = [np.cos(np.radians(18)) * np.sin(np.radians(25)), np.sin(np.radians(18))]
    u = np.arctan2(facing[1], facing[0]) / (2 * np.pi) + 0.5
    middle = pixels[SIDE // 2 - 1 : SIDE // 2 + 1, SIDE // 2 - 1 : SIDE // 2 + 1, :3].mean((0, 1))
    np.testing.assert_allclose(middle, [255 * (1 - u), 255 * u, 40], atol=14)


def test_a_still_says_what_made_its_mesh() -> None:
    corners, own = np.float32([[0, 0, 0], [1, 0, 0], [0, 0, 1]]), np.arange(3, dtype=np.int32)
    uv, colours, texture = corners[:, [0, 2]], np.zeros((3, 3), np.uint8), np.zeros((4, 4, 3), np.uint8)
    normals, by = np.float32([[0, -1, 0]] * 3), GeneratedBy("mine")
    mesh = TexturedMesh(corners, own[None], normals, colours, uv, own, own[None], texture)
    with Image.open(io.BytesIO(poster(glb(mesh, by)))) as picture:
        assert picture.info["xmp"] == by.xmp


BALL = toys.textured_ball(0.5)


def altered(part: str, value: Any) -> bytes:
    """The ball with another value of a part of its tree, such as "accessors/0/count"."""
    length = struct.unpack_from("<I", BALL, 12)[0]
    tree = json.loads(BALL[20 : 20 + length])
    *above, last = (int(word) if word.isdigit() else word for word in part.split("/"))
    inside = tree
    for word in above:
        inside = inside[word]
    inside[last] = value
    text = json.dumps(tree).encode()
    return BALL[:12] + struct.pack("<I", len(text)) + BALL[16:20] + text + BALL[20 + length :]


@pytest.mark.parametrize(
    "broken",
    [
        *(b"", b"glTF", BALL.replace(b"TEXCOORD_0", b"TEXCOORD_1")),
        *(altered("meshes", 3), altered("meshes/0", 1.5), altered("accessors/1/count", 2.5)),
        *(altered("bufferViews/0", 0.5), altered("images/0/bufferView", "x"), altered("accessors/0/bufferView", [1])),
        *(altered("bufferViews/0/byteLength", {}), altered("meshes/0/primitives/0/attributes", 1e300)),
    ],
)
def test_another_file_is_refused(broken: bytes) -> None:
    for reader in (poster, small_mesh):
        with pytest.raises(ValueError):
            reader(broken)


@needs_chromium
@pytest.mark.slow
def test_without_webgl_the_still_stays_and_the_page_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toys.write_object(tmp_path / "samples/a", "a chair")
    write_page(tmp_path / "page.html", gather([tmp_path / "samples"]), "Still")
    plain = show_browser.FLAGS.replace("--use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader", "")
    monkeypatch.setattr(show_browser, "FLAGS", f"{plain} --disable-gpu --disable-3d-apis")
    with Browser() as browser:
        browser.open(tmp_path / "page.html")
        browser.wait_for("document.querySelector('.stage + figcaption').textContent.includes('no WebGL')")
        assert browser.run("document.querySelector('.poster').naturalWidth") == SIDE
        assert browser.run("document.querySelector('.poster').alt") == "a chair: the mesh"
        assert browser.run("document.querySelectorAll('model-viewer').length") == 0
        assert browser.errors == []
