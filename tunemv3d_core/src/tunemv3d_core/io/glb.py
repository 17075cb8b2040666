"""A textured mesh as a GLB file (binary glTF 2.0), which 3D programs and browsers open. One world unit is one metre.

Our world is z up with the front at -y; glTF is y up with the front at +z.
"""

import json
import struct
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tunemv3d_core.io.generated import GeneratedBy, save_picture
from tunemv3d_core.slots import TexturedMesh

_DULL = {"baseColorTexture": {"index": 0}, "metallicFactor": 0.0, "roughnessFactor": 0.9}

_UNLIT = "KHR_materials_unlit"
"""Views carry their light, so that lit again they are paler or darker; readers that do not know it take ``_DULL``."""

_PRIMITIVE = {"attributes": {"POSITION": 1, "NORMAL": 2, "TEXCOORD_0": 3}, "indices": 0, "mode": 4, "material": 0}

_SCENE: dict[str, Any] = {
    "scene": 0,
    "scenes": [{"nodes": [0]}],
    "textures": [{"source": 0}],
    "images": [{"bufferView": 4, "mimeType": "image/png"}],
}
"""The parts of the tree that are the same in every file; numbers are places in its lists."""

_FLOAT, _UINT = 5126, 5125
_VERTICES, _INDICES = 34962, 34963
"""glTF's numbers for types, and for what a part of the buffer holds, by which a viewer knows where to keep it."""


def glb(mesh: TexturedMesh, by: GeneratedBy) -> bytes:
    """Write one mesh with one material and its texture as PNG; node and mesh are called as the prompt.

    Args:
        mesh: the mesh.
        by: what made it; the file tells it by KHR_xmp_json_ld, its texture by XMP.
    """
    name = by.title
    png = BytesIO()
    save_picture(Image.fromarray(mesh.texture), png, by.xmp)
    positions, normals = (to_y_up(z[mesh.uv_vertices]) for z in (mesh.vertices, mesh.normals))
    # glTF's v goes downwards.
    uv = np.stack([mesh.uv[:, 0], 1 - mesh.uv[:, 1]], axis=-1)
    parts = [
        (mesh.uv_faces.astype("<u4").tobytes(), {"target": _INDICES}),
        *((z.astype("<f4").tobytes(), {"target": _VERTICES}) for z in (positions, normals, uv)),
        (png.getvalue(), {}),
    ]
    views, binary = [], b""
    for content, target in parts:
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": len(content), **target})
        binary += _padded(content, b"\0")
    bounds = {"min": positions.min(0).tolist(), "max": positions.max(0).tolist()}
    tree = {
        "asset": {"version": "2.0", "generator": "TuneMV3D"},
        **_SCENE,
        "nodes": [{"name": name, "mesh": 0}],
        "meshes": [{"name": name, "primitives": [_PRIMITIVE]}],
        "extensionsUsed": [_UNLIT],
        "materials": [
            {
                "name": "baked",
                "pbrMetallicRoughness": _DULL,
                "extensions": {_UNLIT: {}},
                "doubleSided": not mesh.watertight,
            }
        ],
        "accessors": [
            {"bufferView": 0, "componentType": _UINT, "count": mesh.uv_faces.size, "type": "SCALAR"},
            {"bufferView": 1, "componentType": _FLOAT, "count": len(positions), "type": "VEC3", **bounds},
            {"bufferView": 2, "componentType": _FLOAT, "count": len(positions), "type": "VEC3"},
            {"bufferView": 3, "componentType": _FLOAT, "count": len(positions), "type": "VEC2"},
        ],
        "bufferViews": views,
        "buffers": [{"byteLength": len(binary)}],
    }
    text = json.dumps(by.marked(tree), ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    chunks = _chunk(b"JSON", _padded(text, b" ")) + _chunk(b"BIN\0", binary)
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def to_y_up(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn ``v 3`` from z up, front at -y, to y up, front at +z."""
    x, y, z = vectors.T
    return np.stack([x, z, -y], axis=-1)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack("<I4s", len(content), kind) + content


def _padded(content: bytes, filler: bytes) -> bytes:
    """Fill up to whole words of four bytes, as glTF asks."""
    return content + filler * (-len(content) % 4)
