"""A small page: what is reduced is close to what it was, and the page says so."""

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import show_toys as toys
from PIL import Image
from test_show_report import Page, run

from tunemv3d_show.compact import FRAMES, TOLD, small_animation, small_mesh, small_picture


def parts(glb: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray], Image.Image]:
    """A GLB's tree, its numbers by name as the format's own rules read them, and its texture."""
    magic, version, length, size, kind = struct.unpack_from("<4sIIII", glb)
    assert (magic, version, length, kind) == (b"glTF", 2, len(glb), 0x4E4F534A)
    tree = json.loads(glb[20 : 20 + size])
    length, kind = struct.unpack_from("<II", glb, 20 + size)
    binary = glb[28 + size :]
    assert (len(binary), kind) == (length, 0x004E4942) and size % 4 == length % 4 == 0
    part = tree["meshes"][0]["primitives"][0]
    found = {}
    for name, index in {**part["attributes"], "indices": part["indices"]}.items():
        accessor = tree["accessors"][index]
        view = tree["bufferViews"][accessor["bufferView"]]
        kind_ = {5120: "i1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}[accessor["componentType"]]
        wide = {"SCALAR": 1, "VEC2": 2, "VEC3": 3}[accessor["type"]]
        step = view.get("byteStride", wide * np.dtype(kind_).itemsize)
        assert view["byteOffset"] % 4 == 0 and (name == "indices" or step % 4 == 0)
        rows = [np.frombuffer(binary, kind_, wide, view["byteOffset"] + row * step) for row in range(accessor["count"])]
        values = np.stack(rows)
        if "max" in accessor:
            assert values.max(0).tolist() == accessor["max"] and values.min(0).tolist() == accessor["min"]
        if accessor.get("normalized"):
            values = np.maximum(values / np.iinfo(values.dtype).max, -1)
        found[name] = values
    image = tree["bufferViews"][tree["images"][0]["bufferView"]]
    begin = image.get("byteOffset", 0)
    return tree, found, Image.open(io.BytesIO(binary[begin : begin + image["byteLength"]]))


def test_a_small_mesh_has_the_same_triangles_and_nearly_the_same_numbers_and_texture() -> None:
    glb = toys.textured_ball(0.7, 512)
    small = small_mesh(glb)
    (_, before, texture), (tree, after, smaller) = parts(glb), parts(small)
    assert np.array_equal(before["indices"], after["indices"])
    for name, off in (("POSITION", 1 / 32767), ("NORMAL", 1 / 127), ("TEXCOORD_0", 1 / 65535)):
        np.testing.assert_allclose(after[name], before[name], atol=off, err_msg=name)
    assert tree["extensionsRequired"] == ["KHR_mesh_quantization"]
    assert smaller.format == "JPEG" and smaller.size == (256, 256)
    wanted = np.asarray(texture.convert("RGB").resize((256, 256)), float)
    assert np.abs(np.asarray(smaller, float) - wanted).mean() < 6
    assert len(small) < 0.6 * len(glb)


def test_a_mesh_that_is_larger_than_the_unit_sphere_keeps_its_size() -> None:
    before, after = parts(toys.textured_ball(1.5))[1], parts(small_mesh(toys.textured_ball(1.5)))[1]
    np.testing.assert_allclose(after["POSITION"], before["POSITION"])


def test_another_file_is_refused() -> None:
    glb = toys.textured_ball(0.5)
    for broken in (b"", b"glTF", glb[:40], glb.replace(b'"bufferView":1', b'"bufferView":0')):
        with pytest.raises(ValueError):
            small_mesh(broken)


@pytest.mark.parametrize(("frames", "kept"), [(36, FRAMES), (13, FRAMES), (5, 5), (1, 1)])
def test_an_animation_lasts_as_long_with_fewer_frames(tmp_path: Path, frames: int, kept: int) -> None:
    # A grey that tells the frame, far from its neighbours': WebP puts frames that are nearly equal together.
    greys = [97 * i % 256 for i in range(frames)]
    pictures = [Image.new("RGB", (64, 32), (grey, grey, grey)) for grey in greys]
    pictures[0].save(tmp_path / "a.webp", save_all=True, append_images=pictures[1:], duration=80, lossless=True)
    with Image.open(io.BytesIO(small_animation(Image.open(tmp_path / "a.webp"), "turntable"))) as small:
        assert getattr(small, "n_frames", 1) == kept
        lasts, seen = 0, []
        for index in range(kept):
            small.seek(index)
            small.load()
            lasts += small.info.get("duration", 0)
            grey = np.asarray(small.convert("L"), float).mean()
            seen.append(int(np.abs(np.array(greys) - grey).argmin()))
    assert seen[0] == 0 and seen == sorted(seen) and len(set(seen)) == kept
    assert kept == 1 or lasts == pytest.approx(80 * frames, rel=0.05)


def test_a_small_picture_is_on_white_and_no_wider_than_it_should_be() -> None:
    clear = Image.new("RGBA", (300, 150), (255, 0, 0, 0))
    clear.paste((0, 0, 255, 255), (0, 0, 150, 150))
    small = Image.open(io.BytesIO(small_picture(clear, "view"))).convert("RGB")
    assert small.size == (128, 64)
    np.testing.assert_allclose(small.getpixel((100, 32)), (255, 255, 255), atol=6)
    np.testing.assert_allclose(small.getpixel((20, 32)), (0, 0, 255), atol=12)


@pytest.mark.slow
def test_a_compact_page_is_smaller_says_what_was_reduced_and_tells_what_it_could_not_reduce(tmp_path: Path) -> None:
    toys.write_object(tmp_path / "samples/a", "a chair")
    toys.write_object(tmp_path / "samples/b", "a stool")
    assert run(tmp_path / "samples", "--out", tmp_path / "full.html").exit_code == 0
    assert run(tmp_path / "samples", "--out", tmp_path / "small.html", "--compact").exit_code == 0
    full, small = Page(tmp_path / "full.html"), Page(tmp_path / "small.html")
    assert TOLD in small.words and TOLD not in full.words
    assert len(small.media) == len(full.media) - 2, "two strips do not move"
    assert sum(len(data) for _, data in small.media.values()) < 0.7 * sum(len(data) for _, data in full.media.values())
    (tmp_path / "samples/a/object.glb").write_bytes(b"glTF" + struct.pack("<II", 2, 12))
    result = run(tmp_path / "samples", "--out", tmp_path / "small.html", "--compact")
    assert result.exit_code == 1 and "object.glb cannot be read: no GLB as" in result.stderr
