"""Blender's synthetic scenes (NeRF): transforms_train.json, transforms_val.json, transforms_test.json beside RGBA PNGs.

One ``camera_angle_x`` a file, picture names without suffix, camera-to-world matrices with OpenGL axes, z up. Read from
nerfstudio-project/nerfstudio, nerfstudio/data/dataparsers/blender_dataparser.py. The three files show one object, so
all their frames are its views. The scale differs from scene to scene and is taken from the silhouettes.

maximeraafat/BlenderNeRF writes the same with instant-ngp's keys (``fl_x``, ``cx``, ``k1``), lists test views whether or
not they are rendered, and on Windows separates folders by backslashes.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.json_files import read_json
from tunemv3d_data.layouts.nerfstudio import frames_of, picture_file, read_frames
from tunemv3d_data.layouts.views import SourceViews, any_folder_with, folders_with
from tunemv3d_data.notes import note

LOOKS_LIKE = "transforms_train.json beside the pictures, in the folder or in one folder per object"


def recognise(path: Path) -> bool:
    """Return whether a transforms_train.json lies there or in a folder below."""
    return any_folder_with(path, _is_object)


def find(path: Path) -> dict[str, Path]:
    """Find folders that hold a transforms_train.json."""
    return folders_with(path, _is_object)


def read(folder: Path) -> SourceViews:
    """Read one scene: the frames of all three files, but for those of which no picture was rendered.

    Raises:
        DatasetError: a file without frames or field of view, only some splits with masks, or no picture.
    """
    splits = list(_splits(folder))
    if not splits:
        raise DatasetError(f"{folder}: none of the pictures is there that its transforms_*.json list")
    if len({bool(split.masks) for split in splits}) > 1:
        raise DatasetError(f"{folder}: the pictures of some splits have masks and others none; give all or none")
    return SourceViews(
        poses=np.concatenate([split.poses for split in splits]),
        intrinsics=np.concatenate([split.intrinsics for split in splits]),
        files=sum((split.files for split in splits), ()),
        masks=sum((split.masks for split in splits), ()),
        black_masks=splits[0].black_masks,
        lenses=sum((split.lenses for split in splits), ()),
        name=folder.resolve().name,
    )


def _splits(folder: Path) -> Iterator[SourceViews]:
    for path in (folder / f"transforms_{split}.json" for split in ("train", "val", "test")):
        if path.exists():
            content = read_json(path)
            frames = frames_of(path, content)
            if any(picture_file(folder, frame).is_file() for frame in frames):
                yield read_frames(path, content, frames)
            else:
                note("camera", f"{path.name} lists {len(frames)} views, of which none was rendered; left out")


def _is_object(folder: Path) -> bool:
    return (folder / "transforms_train.json").is_file()
