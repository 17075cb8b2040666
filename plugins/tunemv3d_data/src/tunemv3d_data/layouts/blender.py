"""Blender's synthetic scenes (NeRF): transforms_train.json, transforms_val.json, transforms_test.json beside RGBA PNGs.

One ``camera_angle_x`` a file, picture names without suffix, camera-to-world matrices with OpenGL axes, z up. Read from
nerfstudio-project/nerfstudio, nerfstudio/data/dataparsers/blender_dataparser.py. The three files show one object, so
all their frames are its views. The scale differs from scene to scene and is taken from the silhouettes.
"""

from pathlib import Path

import numpy as np

from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.posed_images import read_json
from tunemv3d_data.layouts.nerfstudio import focal_of_angle, frames_of, opengl_poses, picture_file
from tunemv3d_data.layouts.views import SourceViews, any_folder_with, folders_with, picture_size

LOOKS_LIKE = "transforms_train.json beside the pictures, in the folder or in one folder per object"


def recognise(path: Path) -> bool:
    """Return whether a transforms_train.json lies there or in a folder below."""
    return any_folder_with(path, _is_object)


def find(path: Path) -> dict[str, Path]:
    """Find folders that hold a transforms_train.json."""
    return folders_with(path, _is_object)


def read(folder: Path) -> SourceViews:
    """Read one scene: the frames of all three files.

    Raises:
        DatasetError: a file without frames or camera_angle_x.
    """
    poses, intrinsics, files = [], [], []
    for path in (folder / f"transforms_{split}.json" for split in ("train", "val", "test")):
        if path.exists():
            content = read_json(path)
            frames = frames_of(path, content)
            try:
                focal = focal_of_angle(float(content["camera_angle_x"]))
            except (KeyError, TypeError, ValueError, ZeroDivisionError):
                raise DatasetError(f"{path}: 'camera_angle_x' must be the field of view in radians") from None
            pictures = [picture_file(folder, frame) for frame in frames]
            h, w = picture_size(pictures[0])
            poses.append(opengl_poses(path, frames))
            intrinsics += [[focal, focal * w / h, 0.5, 0.5]] * len(frames)
            files += pictures
    return SourceViews(np.concatenate(poses), np.array(intrinsics), tuple(files), name=folder.resolve().name)


def _is_object(folder: Path) -> bool:
    return (folder / "transforms_train.json").is_file()
