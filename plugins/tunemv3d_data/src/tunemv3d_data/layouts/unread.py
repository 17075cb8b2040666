"""Layouts that are known and not read, and archives: what to do with them."""

from itertools import islice
from pathlib import Path

from tunemv3d_core.io.json_files import parse, read_plain
from tunemv3d_data.layouts.views import any_folder_with

_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".7z", ".rar")
_WAY = "is not read; write its cameras into a transforms.json per object (--layout nerfstudio says what it holds)"


def unread(path: Path) -> str:
    """Say what a folder of no layout holds, in words that follow its path; "" where nothing is known of it."""
    for test, what in (
        (_is_gobjaverse, "G-Objaverse's layout (<n>/<n>.json with x, y, z, origin and x_fov)"),
        (_is_openlrm, "OpenLRM's layout (rgba/*.png, pose/*.npy, intrinsics.npy)"),
        (_is_bpy_renderer, "bpy-renderer's layout (meta.json with locations, color_*.webp)"),
    ):
        if any_folder_with(path, test, deepest=3):
            return f"{what} {_WAY}"
    packed = next((file for file in sorted(path.iterdir()) if file.suffix.lower() in _ARCHIVES), None)
    return f"holds the archive {packed.name}: unpack it first, and give the folder that it makes" if packed else ""


def _is_gobjaverse(folder: Path) -> bool:
    return {"x", "y", "z", "origin"} <= _keys(folder / f"{folder.name}.json")


def _is_openlrm(folder: Path) -> bool:
    return (folder / "rgba").is_dir() and (folder / "pose").is_dir()


def _is_bpy_renderer(folder: Path) -> bool:
    has_pictures = any(islice(folder.glob("color_*"), 1)) or any(islice(folder.glob("render_*"), 1))
    return has_pictures and "locations" in _keys(folder / "meta.json")


def _keys(path: Path) -> set[str]:
    try:
        content = parse(read_plain(path))
    except (OSError, ValueError):
        return set()
    return set(content) if isinstance(content, dict) else set()
