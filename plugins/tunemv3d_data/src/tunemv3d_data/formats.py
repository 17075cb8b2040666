"""Mesh formats: who reads them, and how their axes lie.

| format | up, front | from |
| --- | --- | --- |
| OBJ | y, +z | no convention of its own; that of most exporters |
| glTF, GLB | y, +z | glTF 2.0 specification, section 3.4 |
| COLLADA | as its ``up_axis`` says, else y; +z or -y | COLLADA 1.4 specification |
| PLY, STL, OFF | z, -y | no convention of their own; that of scanners and CAD |
| through Blender | as the file says | converted to GLB |
"""

import re
from pathlib import PurePath

OWN = (".obj", ".glb", ".gltf", ".ply", ".stl", ".off", ".dae")
"""Read here; COLLADA by trimesh."""

BLENDER = (".blend", ".fbx", ".usd", ".usda", ".usdc", ".usdz", ".3ds", ".x3d")
"""Read through Blender, where it is installed."""

_EXPORT = "this format is not read; export it as GLB"
_UNPACK = "this kind of archive is not read; unpack it, or pack it as a zip"
UNREAD = {
    **dict.fromkeys((".max", ".ma", ".mb", ".c4d", ".skp", ".3dm", ".lwo", ".wrl", ".ac", ".ms3d", ".x"), _EXPORT),
    **dict.fromkeys((".step", ".stp", ".iges", ".igs", ".3mf", ".abc"), _EXPORT),
    **dict.fromkeys((".7z", ".rar", ".tar", ".tgz"), _UNPACK),
}
"""Known to hold models, and refused with this reason rather than passed over."""

_PACKED = (".gz", ".bz2", ".xz")


def refusal(name: str) -> str:
    """Say why a file is not read though it holds or may hold models; "" if it does not, or is read."""
    path = PurePath(name.lower())
    if path.suffix in _PACKED and PurePath(path.stem).suffix in (*OWN, *BLENDER, *UNREAD):
        return _UNPACK
    return UNREAD.get(path.suffix, "")


_Z_UP = (".ply", ".stl", ".off")
_COLLADA_UP = re.compile(rb"<up_axis>\s*([XYZ])_UP")


def up_axis(suffix: str, data: bytes) -> str:
    """Return the axis that points up in a file, "y" or "z"."""
    if suffix == ".dae" and (found := _COLLADA_UP.search(data)):
        return "z" if found[1] == b"Z" else "y"
    return "z" if suffix in _Z_UP else "y"
