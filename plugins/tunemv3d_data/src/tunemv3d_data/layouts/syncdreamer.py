"""SyncDreamer's renderings: <uid>/000.png to 015.png RGBA, with meta.pkl where the viewpoints were drawn at random.

meta.pkl holds [K, azimuths, elevations, distances, cam_poses]: K in pixels, angles in radians, 3x4 world-to-camera
matrices with OpenCV axes. The target views have none: their 16 cameras stand at elevation 30 degrees and distance 1.5,
the first on +x, with a lens of 35 mm on 32 mm (49.1 degrees). World z up, objects fitted into [-0.5, 0.5]^3. Read from
liuyuan-pal/SyncDreamer, blender_script.py, which writes them, and ldm/data/sync_dreamer.py, which reads them.

A pickle is a program. This one is read by an unpickler that knows numpy arrays and nothing else.
"""

import io
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.json_files import read_plain
from tunemv3d_data.layouts.conventions import OPENCV_W2C
from tunemv3d_data.layouts.views import (
    HALF_CUBE_RADIUS,
    Floats,
    SourceViews,
    any_folder_with,
    central,
    folders_with,
    matrices,
    picture_size,
    rigid,
)

LOOKS_LIKE = "<uid>/000.png to 015.png, with or without meta.pkl"
_VIEWS, _ELEVATION, _DISTANCE, _FOCAL = 16, math.radians(30), 1.5, 35 / 32
_LARGEST_META = 2**20
_ARRAY_PARTS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
    ("numpy._core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
    ("numpy.core.numeric", "_frombuffer"): np._core.numeric._frombuffer,  # type: ignore[attr-defined]
    ("numpy._core.numeric", "_frombuffer"): np._core.numeric._frombuffer,  # type: ignore[attr-defined]
}


def recognise(path: Path) -> bool:
    """Return whether an object with meta.pkl, or with exactly the 16 target views, lies there or below."""
    return any_folder_with(path, _is_object)


def find(path: Path) -> dict[str, Path]:
    """Find folders with meta.pkl, or with exactly the 16 target views."""
    return folders_with(path, _is_object)


def read(folder: Path) -> SourceViews:
    """Read one object.

    Raises:
        DatasetError: a hostile or damaged meta.pkl, or one that does not fit the pictures.
    """
    files = _pictures(folder)
    meta = folder / "meta.pkl"
    if not meta.exists() and len(files) == _VIEWS:
        return SourceViews(target_poses(), central(_FOCAL, _VIEWS), files, radius=HALF_CUBE_RADIUS)
    camera, _, _, _, world_to_camera = read_meta(meta)
    if camera.shape != (3, 3) or len(world_to_camera) != len(files):
        raise DatasetError(f"{meta}: K of {camera.shape} and {len(world_to_camera)} poses for {len(files)} pictures")
    h, w = picture_size(files[0])
    one = np.array([camera[0, 0] / w, camera[1, 1] / h, camera[0, 2] / w, camera[1, 2] / h])
    poses = rigid(meta, OPENCV_W2C.poses(matrices(meta, world_to_camera, (3, 4))))
    return SourceViews(poses, np.tile(one, (len(files), 1)), files, radius=HALF_CUBE_RADIUS, read_as=OPENCV_W2C)


def target_poses() -> Floats:
    """Cameras of the 16 target views, ``16 4 4``: they look at the origin, counter-clockwise from above, from +x on."""
    azimuth = np.arange(_VIEWS) * 2 * np.pi / _VIEWS
    away = np.stack(
        [
            np.cos(azimuth) * np.cos(_ELEVATION),
            np.sin(azimuth) * np.cos(_ELEVATION),
            np.full(_VIEWS, np.sin(_ELEVATION)),
        ],
        axis=1,
    )
    right = np.stack([-np.sin(azimuth), np.cos(azimuth), np.zeros(_VIEWS)], axis=1)
    poses = np.tile(np.eye(4), (_VIEWS, 1, 1))
    poses[:, :3] = np.stack([right, np.cross(-away, right), -away, _DISTANCE * away], axis=2)
    return poses


def read_meta(path: Path) -> list[Floats]:
    """Read the five arrays of a meta.pkl.

    Raises:
        DatasetError: it wants anything but numbers in numpy arrays, or is damaged.
    """
    try:
        data = read_plain(path, _LARGEST_META)
    except OSError as error:
        raise DatasetError(f"{path}: no file of cameras: {error.strerror}") from None
    try:
        found = _ArrayUnpickler(io.BytesIO(data)).load()
    except _ForbiddenError as error:
        raise DatasetError(f"{path}: asks to run {error}; only numpy arrays are read from a pickle") from None
    except Exception as error:  # damaged pickles raise whatever their bytes provoke
        raise DatasetError(f"{path}: damaged: {type(error).__name__}: {error}") from None
    is_numbers = isinstance(found, (list, tuple)) and all(
        isinstance(part, np.ndarray) and part.dtype.kind in "fiu" for part in found
    )
    if not is_numbers or len(found) != 5:
        raise DatasetError(f"{path}: expected K, azimuths, elevations, distances and poses as arrays of numbers")
    return [np.asarray(part, dtype=np.float64) for part in found]


class _ForbiddenError(pickle.UnpicklingError):
    pass


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ARRAY_PARTS:
            raise _ForbiddenError(f"{module}.{name}")
        return _ARRAY_PARTS[module, name]


def _is_object(folder: Path) -> bool:
    if not (folder / "000.png").is_file() or (folder / "000.npy").exists():
        return False
    return (folder / "meta.pkl").is_file() or len(_pictures(folder)) == _VIEWS


def _pictures(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(folder.glob("[0-9][0-9][0-9].png")))
