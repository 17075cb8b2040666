"""Captures of nerfstudio and instant-ngp: transforms.json beside pictures of any size.

Camera-to-world matrices with OpenGL axes; intrinsics in pixels, given once or per frame. The convention was read from
docs.nerf.studio/quickstart/data_conventions.html (masks: black is left out) and from
nerfstudio-project/nerfstudio, nerfstudio/data/dataparsers/nerfstudio_dataparser.py: ``applied_transform`` has already
been applied to the matrices and concerns the point cloud alone. ``camera_angle_x`` is instant-ngp's and Blender's.

The world's orientation and scale are anything, so they are estimated: z along the cameras' vertical, the middle where
their axes meet, the radius from the silhouettes.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tunemv3d_core.cameras import opengl_to_opencv
from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.posed_images import read_json
from tunemv3d_data.layouts.views import (
    SourceViews,
    any_folder_with,
    folders_with,
    matrices,
    picture_size,
)

LOOKS_LIKE = "transforms.json beside the pictures, in the folder or in one folder per object"
_PINHOLE = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "PERSPECTIVE")
_DISTORTIONS = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")


def recognise(path: Path) -> bool:
    """Return whether a transforms.json lies there or in a folder below."""
    return any_folder_with(path, _is_object)


def find(path: Path) -> dict[str, Path]:
    """Find folders that hold a transforms.json."""
    return folders_with(path, _is_object)


def read(folder: Path) -> SourceViews:
    """Read one capture.

    Raises:
        DatasetError: a camera model other than a pinhole without distortion, or a key is missing.
    """
    path = folder / "transforms.json"
    content = read_json(path)
    frames = frames_of(path, content)
    files = tuple(picture_file(folder, frame) for frame in frames)
    intrinsics = [_intrinsics(path, content, frame, file) for frame, file in zip(frames, files, strict=True)]
    masked = [frame for frame in frames if "mask_path" in frame]
    if masked and len(masked) < len(frames):
        raise DatasetError(f"{path}: {len(masked)} of {len(frames)} frames have a mask_path; give all or none")
    captions = content.get("captions", [])
    if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
        raise DatasetError(f"{path}: 'captions' must be a list of texts")
    return SourceViews(
        poses=opengl_poses(path, frames),
        intrinsics=np.array(intrinsics),
        files=files,
        masks=tuple(folder / str(frame["mask_path"]) for frame in masked),
        up=None,
        name=folder.resolve().name,
        captions=tuple(captions),
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
    """Find a frame's picture; .png where its name has no suffix, as in Blender's synthetic scenes."""
    if "file_path" not in frame:
        raise DatasetError(f"{folder}: a frame has no 'file_path'")
    file = folder / str(frame["file_path"])
    return file if file.suffix else file.with_name(file.name + ".png")


def opengl_poses(path: Path, frames: Sequence[Mapping[str, Any]]) -> Any:
    """Read poses ``n 4 4`` with OpenCV axes from the frames' transform_matrix with OpenGL axes."""
    return opengl_to_opencv(matrices(path, [frame.get("transform_matrix") for frame in frames], (4, 4)))


def focal_of_angle(angle: float) -> float:
    """Convert the horizontal field of view in radians to a focal length as a fraction of the width."""
    return 0.5 / math.tan(angle / 2)


def _is_object(folder: Path) -> bool:
    return (folder / "transforms.json").is_file()


def _intrinsics(path: Path, content: Mapping[str, Any], frame: Mapping[str, Any], file: Path) -> list[float]:
    """fx, fy, cx, cy as fractions; a frame's own keys come before the file's."""
    known = {**content, **frame}
    if (model := str(known.get("camera_model", "OPENCV"))) not in _PINHOLE:
        raise DatasetError(f"{path}: camera model {model}; only pinhole cameras are read: undistort the pictures first")
    try:
        if bent := [key for key in _DISTORTIONS if float(known.get(key, 0)) != 0]:
            raise DatasetError(
                f"{path}: lens distortion ({', '.join(f'{key} = {known[key]}' for key in bent)}); undistort the "
                "pictures first, for example with colmap image_undistorter"
            )
        h, w = (int(known["h"]), int(known["w"])) if "h" in known and "w" in known else picture_size(file)
        angle = known.get("camera_angle_x")
        fx = float(known["fl_x"]) / w if angle is None or "fl_x" in known else focal_of_angle(float(angle))
        fy = float(known["fl_y"]) / h if "fl_y" in known else fx * w / h
        return [fx, fy, float(known.get("cx", w / 2)) / w, float(known.get("cy", h / 2)) / h]
    except KeyError as error:
        raise DatasetError(f"{path}: neither the file nor the frame of {file.name} has the key {error}") from None
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise DatasetError(f"{path}: intrinsics of {file.name}: {error}") from None
