"""STL files, binary and as text: triangles without colours; a binary file may begin with "solid" as a text does."""

import struct

import numpy as np

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.meshes.neighbours import Neighbours
from tunemv3d_data.meshes.parts import Part
from tunemv3d_data.meshes.surfaces import Polygons, Values, painted_part
from tunemv3d_data.notes import note
from tunemv3d_data.text import decoded, numbers

_FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
_HEADER = 84


def read_stl(data: bytes, neighbours: Neighbours) -> list[Part]:
    """Read an STL file as one part; its normals, which are those of the faces, are computed instead.

    Args:
        data: the file.
        neighbours: not needed: STL refers to no files.

    Raises:
        DatasetError: it holds no triangles, is cut off, or a line of it makes no sense; names the line.
    """
    corners = _text(data) if _is_text(data) else _binary(data)
    points = corners.reshape(-1, 3)
    count = len(points) // 3
    return [painted_part(Polygons(points, np.arange(len(points)), np.full(count, 3)))]


def _is_text(data: bytes) -> bool:
    """Whether a file is a text: by its length first, as headers of binary files may begin with anything."""
    if len(data) >= _HEADER and len(data) == _HEADER + _FACET.itemsize * struct.unpack_from("<I", data, 80)[0]:
        return False
    start = decoded(data[:4096]).lstrip().lower()
    return start.startswith("solid") and ("facet" in start or "\0" not in start)


def _binary(data: bytes) -> Values:
    if len(data) < _HEADER:
        raise DatasetError("is neither a binary STL file nor one of text: it is too short")
    claimed, there = struct.unpack_from("<I", data, 80)[0], (len(data) - _HEADER) // _FACET.itemsize
    if there < claimed:
        raise DatasetError(f"is cut off: it says that it has {claimed:,} triangles, and {there:,} are there")
    if len(data) > _HEADER + claimed * _FACET.itemsize:
        note("other", f"{len(data) - _HEADER - claimed * _FACET.itemsize:,} bytes behind its triangles are not read")
    facets = np.frombuffer(data, _FACET, claimed, _HEADER)
    if b"COLOR=" in data[:80] or (facets["attribute"] & 0x8000).any():
        note("changed colours", "its triangles have colours in the way of one program, which are not read; use PLY")
    return facets["corners"].astype(np.float64)


def _text(data: bytes) -> Values:
    rows, lines, loop, facets = [], [], 0, 0
    for number, line in enumerate(decoded(data).replace("\t", " ").split("\n"), 1):
        key, _, rest = line.strip().partition(" ")
        key = key.lower()
        if key == "vertex":
            rows.append(rest)
            lines.append(number)
        elif key in ("endloop", "endfacet") and len(rows) - loop != (3 if key == "endloop" else 0):
            raise DatasetError(f"line {number}: a facet has {len(rows) - loop} corners; STL holds triangles alone")
        if key == "endloop":
            loop, facets = len(rows), facets + 1
        elif key not in ("", "vertex", "facet", "outer", "endfacet", "solid", "endsolid", "color") and rows:
            raise DatasetError(f"line {number}: begins with {key[:40]!r}, which is not of STL")
    if len(rows) != loop:
        raise DatasetError(f"is cut off: its last facet ends after {len(rows) - loop} corners")
    points, _ = numbers(rows, lambda row: lines[row], 3)
    return points[:, :3].reshape(-1, 3, 3)
