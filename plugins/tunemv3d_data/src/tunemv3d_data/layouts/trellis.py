"""Renderings of TRELLIS' dataset toolkit: renders/<sha256>/transforms.json beside RGBA PNGs.

One ``camera_angle_x`` a frame (radians, square pictures), camera-to-world matrices of Blender's camera (OpenGL axes,
z up), the object fitted into the cube ``aabb`` = [-0.5, 0.5]^3 by ``scale`` and ``offset``. Read from
microsoft/TRELLIS, dataset_toolkits/blender_script/render.py, which writes it, and extract_feature.py, which reads it.
"""

from pathlib import Path

from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.json_files import read_json
from tunemv3d_data.layouts.nerfstudio import frames_of, read_frames
from tunemv3d_data.layouts.views import HALF_CUBE_RADIUS, SourceViews, any_folder_with, folders_with

LOOKS_LIKE = "<sha256>/transforms.json with aabb, scale, offset and a camera_angle_x a frame"


def recognise(path: Path) -> bool:
    """Return whether the first transforms.json found has TRELLIS' keys."""
    return any_folder_with(path, lambda folder: _has_views(folder) and _is_trellis(folder / "transforms.json"))


def find(path: Path) -> dict[str, Path]:
    """Find folders that hold a transforms.json."""
    return folders_with(path, _has_views)


def read(folder: Path) -> SourceViews:
    """Read one object.

    Raises:
        DatasetError: as ``nerfstudio.read_frames``.
    """
    path = folder / "transforms.json"
    frames = frames_of(path, read_json(path))
    return read_frames(path, {}, frames, radius=HALF_CUBE_RADIUS)


def _has_views(folder: Path) -> bool:
    return (folder / "transforms.json").is_file()


def _is_trellis(path: Path) -> bool:
    try:
        content = read_json(path)
        return {"aabb", "scale", "offset"} <= set(content) and "camera_angle_x" in frames_of(path, content)[0]
    except DatasetError:
        return False
