"""glTF files written by hand: arrays and the JSON around them, as the standard says."""

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tunemv3d_data.meshes.mesh import Mesh, load_mesh
from tunemv3d_data.objects import SourceObject

QUAD = np.float32([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
FACES = np.uint16([0, 1, 2, 0, 2, 3])
UV = np.float32([[0, 1], [1, 1], [1, 0], [0, 0]])
_COMPONENTS = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}


class Gltf:
    """A file as it grows; ``header`` is its JSON."""

    def __init__(self) -> None:
        self.binary = b""
        self.header: dict[str, Any] = {"asset": {"version": "2.0"}}

    def add(self, table: str, **entry: Any) -> int:
        entries = self.header.setdefault(table, [])
        entries.append(entry)
        return len(entries) - 1

    def view(self, data: bytes, **entry: Any) -> int:
        self.binary += b"\0" * (-len(self.binary) % 4)
        start = len(self.binary)
        self.binary += data
        return self.add("bufferViews", buffer=0, byteOffset=start, byteLength=len(data), **entry)

    def array(self, values: Any, **entry: Any) -> int:
        values = np.ascontiguousarray(values)
        kind = "SCALAR" if values.ndim == 1 else f"VEC{values.shape[1]}" if values.shape[1] < 5 else "MAT4"
        component = _COMPONENTS[values.dtype.str[1:]]
        view = self.view(values.tobytes())
        return self.add("accessors", bufferView=view, componentType=component, count=len(values), type=kind, **entry)

    def picture(self, pixels: Any, format_: str = "PNG", **sampler: Any) -> int:
        """A texture of a picture."""
        file = io.BytesIO()
        Image.fromarray(np.uint8(pixels)).save(file, format_, **({"lossless": True} if format_ == "WEBP" else {}))
        image = self.add("images", bufferView=self.view(file.getvalue()), mimeType=f"image/{format_.lower()}")
        return self.add("textures", source=image, sampler=self.add("samplers", **sampler))

    def mesh(self, positions: Any = QUAD, indices: Any = FACES, node: Any = None, **primitive: Any) -> int:
        """A mesh and its node; attributes are arrays' numbers or arrays."""
        attributes = {"POSITION": positions, **primitive.pop("attributes", {})}
        found = {name: value if isinstance(value, int) else self.array(value) for name, value in attributes.items()}
        if indices is not None:
            primitive["indices"] = self.array(indices)
        mesh = self.add("meshes", primitives=[{"attributes": found, **primitive}])
        self.add("nodes", mesh=mesh, **(node or {}))
        return mesh

    def material(self, **entry: Any) -> int:
        return self.add("materials", **entry)

    def glb(self) -> bytes:
        header = dict(self.header)
        if self.binary:
            header["buffers"] = [{"byteLength": len(self.binary)}, *header.get("buffers", [])]
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 4)
        binary = self.binary + b"\0" * (-len(self.binary) % 4)
        parts = struct.pack("<I4s", len(text), b"JSON") + text
        if binary:
            parts += struct.pack("<I4s", len(binary), b"BIN\0") + binary
        return b"glTF" + struct.pack("<II", 2, 12 + len(parts)) + parts

    def load(self, folder: Path, **known: Any) -> Mesh:
        path = folder / "made.glb"
        path.write_bytes(self.glb())
        return load_mesh(SourceObject(id="made", path=path), **known)


def painted(gltf: Gltf, texture: dict[str, Any] | None = None, attributes: Any = None, **material: Any) -> Gltf:
    """A quad with a material; ``texture`` is its base colour texture, ``baseColorFactor`` may be among the fields."""
    physical = {} if texture is None else {"baseColorTexture": texture}
    physical |= {key: material.pop(key) for key in ("baseColorFactor",) if key in material}
    number = gltf.material(pbrMetallicRoughness=physical, **material)
    gltf.mesh(attributes={"TEXCOORD_0": UV, **(attributes or {})}, material=number)
    return gltf


def reason(gltf: Gltf, folder: Path, **known: Any) -> str:
    """Why a file is refused, without its place."""
    try:
        gltf.load(folder, **known)
    except Exception as error:
        assert type(error).__name__ == "DatasetError"
        return str(error).split("made.glb: ", 1)[1]
    return ""
