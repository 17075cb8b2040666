"""Shapes in glTF whose numbers are compressed: Draco and meshopt, and decoders that are not there."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gltf_files import Gltf, reason
from test_data_gltf import HOUSE, ROOF, corners


def draco_quad() -> Gltf:
    draco = pytest.importorskip("DracoPy")
    gltf = Gltf()
    data = draco.encode(HOUSE, faces=ROOF.reshape(-1, 3).astype(np.uint32), quantization_bits=16)
    packed = {"bufferView": gltf.view(data), "attributes": {"POSITION": 0}}
    place = gltf.add("accessors", componentType=5126, count=5, type="VEC3")
    indices = gltf.add("accessors", componentType=5121, count=9, type="SCALAR")
    extensions = {"KHR_draco_mesh_compression": packed}
    gltf.add("meshes", primitives=[{"attributes": {"POSITION": place}, "indices": indices, "extensions": extensions}])
    gltf.add("nodes", mesh=0)
    gltf.header["extensionsRequired"] = ["KHR_draco_mesh_compression"]
    return gltf


def same_triangles(found: Any, expected: Any) -> bool:
    """Whether both hold the same triangles, in any order, each from any corner on."""
    turns = np.stack([np.roll(found, turn, axis=1) for turn in range(3)])
    distance = np.abs(turns[:, :, None] - expected[None, None]).max((-1, -2)).min(0)
    return bool(found.shape == expected.shape and max(distance.min(0).max(), distance.min(1).max()) < 1e-4)


def test_draco_is_decoded() -> None:
    assert same_triangles(corners(draco_quad()), HOUSE[ROOF].reshape(-1, 3, 3))


def meshopt_quad(name: str) -> Gltf:
    meshopt = pytest.importorskip("meshoptimizer")
    gltf = Gltf()
    stored = np.zeros((5, 4), dtype=np.float32)
    stored[:, :3] = HOUSE
    order = ROOF.astype(np.uint32)
    for data, mode, stride, count in (
        (meshopt.encode_vertex_buffer(stored, 5, 16), "ATTRIBUTES", 16, 5),
        (meshopt.encode_index_buffer(order, 9, 5), "TRIANGLES", 4, 9),
    ):
        place = gltf.view(bytes(data))
        packed = gltf.header["bufferViews"][place]
        extension = {**packed, "mode": mode, "byteStride": stride, "count": count}
        packed |= {"buffer": 1, "byteOffset": 0, "byteLength": stride * count}
        packed["extensions"] = {name: extension}
    gltf.header["buffers"] = [{"byteLength": 116, "extensions": {name: {"fallback": True}}}]
    place = gltf.add("accessors", bufferView=0, componentType=5126, count=5, type="VEC3")
    indices = gltf.add("accessors", bufferView=1, componentType=5125, count=9, type="SCALAR")
    gltf.add("meshes", primitives=[{"attributes": {"POSITION": place}, "indices": indices}])
    gltf.add("nodes", mesh=0)
    gltf.header["extensionsRequired"] = [name]
    return gltf


@pytest.mark.parametrize("name", ["EXT_meshopt_compression", "KHR_meshopt_compression"])
def test_meshopt_is_decoded(name: str) -> None:
    assert same_triangles(corners(meshopt_quad(name)), HOUSE[ROOF].reshape(-1, 3, 3))


@pytest.mark.parametrize(("library", "extra"), [("DracoPy", "draco"), ("meshoptimizer", "meshopt")])
def test_a_missing_decoder_is_named_with_the_way_out(
    library: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gltf = Gltf()
    gltf.mesh()
    if extra == "draco":
        gltf.header["meshes"][0]["primitives"][0]["extensions"] = {
            "KHR_draco_mesh_compression": {"bufferView": 0, "attributes": {"POSITION": 0}}
        }
        del gltf.header["accessors"][0]["bufferView"]
    else:
        packed = {"buffer": 0, "byteLength": 48, "byteStride": 12, "count": 4, "mode": "ATTRIBUTES"}
        gltf.header["bufferViews"][0]["extensions"] = {"EXT_meshopt_compression": packed}
    monkeypatch.setitem(sys.modules, library, None)
    assert f"pip install 'tunemv3d-data[{extra}]'" in reason(gltf, tmp_path)
    if importlib.util.find_spec(library):
        monkeypatch.delitem(sys.modules, library)
        assert "damaged" in reason(gltf, tmp_path) or "not valid" in reason(gltf, tmp_path)
