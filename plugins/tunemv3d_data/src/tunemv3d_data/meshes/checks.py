"""Checks of a mesh file before it is parsed: its size, and what its parser would pass over in silence."""

import base64
import re
import struct
from typing import Any

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.files import gltf_parts
from tunemv3d_data.meshes.textures import opened
from tunemv3d_data.notes import note

MAX_FACES = 4_000_000
"""Triangles of one object; loading that many takes up to 2 GB of memory."""

_UNDERSTOOD = {
    *("KHR_materials_pbrSpecularGlossiness", "EXT_texture_webp", "KHR_texture_transform", "KHR_mesh_quantization"),
    *("KHR_materials_unlit", "KHR_lights_punctual"),
}
_PICTURES = re.compile(r"KHR_materials_|KHR_texture_")


def check_faces(count: int, limit: int = MAX_FACES) -> None:
    """Refuse a mesh with too many triangles.

    Raises:
        DatasetError: more than ``limit``.
    """
    if count > limit:
        raise DatasetError(f"has {count:,} faces, over the limit of {limit:,}; reduce it, for example in Blender")


def check_file(data: bytes, suffix: str, limit: int = MAX_FACES) -> None:
    """Refuse what would not fit in memory or cannot be decoded, and note textures that cannot be shown.

    Raises:
        DatasetError: empty, cut off, too many faces, or a needed glTF extension is not understood.
    """
    if not data.strip():
        raise DatasetError("is empty")
    if suffix in (".glb", ".gltf"):
        header, binary = gltf_parts(data)
        _check_gltf(header, binary, limit)
    else:
        check_faces(_at_least(data, suffix), limit)


def _at_least(data: bytes, suffix: str) -> int:
    """A lower bound of the triangles in a file, from its header or its lines."""
    if suffix == ".obj":
        return data.count(b"\nf ")
    if suffix == ".stl":
        claimed = struct.unpack_from("<I", data, 80)[0] if len(data) >= 84 else 0
        return claimed if len(data) == 84 + 50 * claimed else data.count(b"endfacet")
    header = {".ply": rb"element\s+face\s+(\d+)", ".off": rb"^\s*[A-Z]*OFF\s+(?:#[^\n]*\n\s*)*\d+\s+(\d+)"}.get(suffix)
    match = re.search(header, data[:65536]) if header else None
    return int(match[1]) if match else 0


def _check_gltf(header: dict[str, Any], binary: bytes, limit: int) -> None:
    if isinstance(header.get("meshes"), dict):
        raise DatasetError("is glTF 1.0, which is not read; convert it to glTF 2.0")
    needed = sorted(set(header.get("extensionsRequired", ())) - _UNDERSTOOD)
    if any(not _PICTURES.match(name) for name in needed):
        raise DatasetError(f"needs {', '.join(needed)}, which is not understood; export it without")
    accessors, meshes = header.get("accessors", []), header.get("meshes", [])
    try:
        sizes = [sum(_corners(part, accessors) for part in mesh["primitives"]) // 3 for mesh in meshes]
        shown = [node["mesh"] for node in header.get("nodes", []) if "mesh" in node]
        check_faces(sum(sizes[index] for index in shown), limit)
        for number, image in enumerate(header.get("images", [])):
            _check_image(image, header, binary, image.get("name") or f"number {number}")
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise DatasetError(f"is not valid glTF: {type(error).__name__}: {error}") from None


def _corners(primitive: dict[str, Any], accessors: list[dict[str, Any]]) -> int:
    """Count the corners of a primitive's triangles; 0 for points and lines."""
    if primitive.get("mode", 4) < 4:
        return 0
    index = primitive.get("indices", primitive["attributes"].get("POSITION"))
    return 0 if index is None else int(accessors[index]["count"])


def _check_image(image: dict[str, Any], header: dict[str, Any], binary: bytes, name: str) -> None:
    """Note a picture inside the file that cannot be opened; trimesh leaves it out without a word."""
    if image.get("mimeType") == "image/ktx2":
        note("unreadable texture", f"texture {name}: KTX2 is not read; the material's colour instead")
    elif str(image.get("uri", "")).startswith("data:"):
        opened(base64.b64decode(image["uri"].split(",", 1)[1]), name)
    elif "bufferView" in image:
        view = header["bufferViews"][image["bufferView"]]
        if view.get("buffer", 0) == 0 and binary:
            start = view.get("byteOffset", 0)
            opened(binary[start : start + view["byteLength"]], name)
