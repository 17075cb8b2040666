"""Captures of nerfstudio and instant-ngp: transforms.json beside pictures of any size.

Camera-to-world matrices with OpenGL axes; intrinsics in pixels, given once or per frame. The convention was read from
docs.nerf.studio/quickstart/data_conventions.html (masks: black is left out) and from
nerfstudio-project/nerfstudio, nerfstudio/data/dataparsers/nerfstudio_dataparser.py: ``applied_transform`` has already
been applied to the matrices and concerns the point cloud alone. ``camera_angle_x`` is instant-ngp's and Blender's.

The world's orientation and scale are anything, so they are estimated: z along the cameras' vertical, the middle where
their axes meet, the radius from the silhouettes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.json_files import read_json
from tunemv3d_core.io.lenses import read_lens
from tunemv3d_data.layouts.conventions import OPENGL
from tunemv3d_data.layouts.masks import masks_of
from tunemv3d_data.layouts.views import (
    Floats,
    SourceViews,
    any_folder_with,
    folders_with,
    inside,
    matrices,
    picture_size,
    rigid,
)

LOOKS_LIKE = "transforms.json beside the pictures, in the folder or in one folder per object"


def recognise(path: Path) -> bool:
    """Return whether a transforms.json lies there or in a folder below."""
    return any_folder_with(path, _is_object)


def find(path: Path) -> dict[str, Path]:
    """Find folders that hold a transforms.json."""
    return folders_with(path, _is_object)


def read(folder: Path) -> SourceViews:
    """Read one capture.

    Raises:
        DatasetError: as ``read_frames``.
    """
    path = folder / "transforms.json"
    content = read_json(path)
    frames = frames_of(path, content)
    captions = content.get("captions", [])
    if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
        raise DatasetError(f"{path}: 'captions' must be a list of texts")
    return read_frames(path, content, frames, captions=tuple(captions), up=None, name=folder.resolve().name)


def read_frames(
    path: Path, content: Mapping[str, Any], frames: Sequence[Mapping[str, Any]], **known: Any
) -> SourceViews:
    """Read cameras, pictures and masks of the frames of a transforms file; their own keys come before the file's.

    Args:
        path: the file; pictures are named relative to its folder.
        content: its keys.
        frames: those to read, in whose order the views are.
        known: further attributes of ``SourceViews``.

    Raises:
        DatasetError: a key is missing or makes no sense, or a camera model is not read; names the frame.
    """
    files = tuple(picture_file(path.parent, frame) for frame in frames)
    lenses = []
    for position, (frame, file) in enumerate(zip(frames, files, strict=True)):
        keys, where = {**content, **frame}, f"{path}: frame {position} ({file.name})"
        lenses.append(read_lens(keys, where, None if {"h", "w"} <= keys.keys() else picture_size(file)))
        bent = dict(lenses[-1].distortion)
        if not lenses[-1].is_fisheye and bent.keys() & {"k4", "k5", "k6"}:
            means = "means other things to OpenCV and to nerfstudio"
            raise DatasetError(f"{where}: a k4 {means}: undistort the pictures by what made the file")
    return SourceViews(
        poses=opengl_poses(path, frames),
        intrinsics=np.array([lens.intrinsics for lens in lenses]),
        files=files,
        lenses=tuple(lenses),
        **masks_of(path, files, [frame.get("mask_path") for frame in frames]),
        **known,
    )


def frames_of(path: Path, content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the frames of a transforms.json, at least one.

    Raises:
        DatasetError: none, or not a list of objects.
    """
    frames = content.get("frames")
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise DatasetError(f"{path}: 'frames' must list at least one image, each as an object with its keys")
    return frames


def picture_file(folder: Path, frame: Mapping[str, Any]) -> Path:
    """Find a frame's picture; where its name has no suffix, as in Blender's synthetic scenes, PNG before others."""
    if "file_path" not in frame:
        raise DatasetError(f"{folder}: a frame has no 'file_path'")
    file = inside(folder, str(frame["file_path"]))
    if file.suffix:
        return file
    named = [file.with_name(file.name + suffix) for suffix in (".png", ".jpg", ".jpeg", ".webp")]
    return next((name for name in named if name.is_file()), named[0])


def opengl_poses(path: Path, frames: Sequence[Mapping[str, Any]]) -> Floats:
    """Read poses ``n 4 4`` with OpenCV axes from the frames' transform_matrix with OpenGL axes."""
    return rigid(path, OPENGL.poses(matrices(path, [frame.get("transform_matrix") for frame in frames], (4, 4))))


def _is_object(folder: Path) -> bool:
    return (folder / "transforms.json").is_file()
