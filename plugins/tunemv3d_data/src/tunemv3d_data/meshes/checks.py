"""Checks of a mesh file before it is parsed: its size, and what its parser would pass over in silence."""

import re
import struct

from tunemv3d_core.errors import DatasetError

MAX_FACES = 4_000_000
"""Triangles of one object; loading that many takes up to 2.5 GB of memory."""


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
