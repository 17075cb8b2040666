"""Renderings of TRELLIS' dataset toolkit: renders/<sha256>/transforms.json beside RGBA PNGs.

One ``camera_angle_x`` a frame (radians, square pictures), camera-to-world matrices of Blender's camera (OpenGL axes,
z up), the object fitted into the cube ``aabb`` = [-0.5, 0.5]^3 by ``scale`` and ``offset``. Read from
microsoft/TRELLIS, dataset_toolkits/blender_script/render.py, which writes it, and extract_feature.py, which reads it.
"""

from pathlib import Path

from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.posed_images import read_json
from tunemv3d_data.layouts.nerfstudio import focal_of_angle, frames_of, opengl_poses, picture_file
from tunemv3d_data.layouts.views import HALF_CUBE_RADIUS, SourceViews, any_folder_with, central, folders_with

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
        DatasetError: a frame without camera_angle_x.
    """
    path = folder / "transforms.json"
    frames = frames_of(path, read_json(path))
    try:
        focals = [focal_of_angle(float(frame["camera_angle_x"])) for frame in frames]
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        raise DatasetError(f"{path}: every frame needs 'camera_angle_x', the field of view in radians") from None
    return SourceViews(
        poses=opengl_poses(path, frames),
        intrinsics=central(focals, len(frames)),
        files=tuple(picture_file(folder, frame) for frame in frames),
        radius=HALF_CUBE_RADIUS,
    )


def _has_views(folder: Path) -> bool:
    return (folder / "transforms.json").is_file()


def _is_trellis(path: Path) -> bool:
    try:
        content = read_json(path)
        return {"aabb", "scale", "offset"} <= set(content) and "camera_angle_x" in frames_of(path, content)[0]
    except DatasetError:
        return False
