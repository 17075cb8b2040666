"""Zero123's Objaverse renderings: views_whole_sphere/<uid>/000.png RGBA with 000.npy, the 3x4 world-to-camera matrix.

The matrix has Blender's camera axes (OpenGL), the world is z up, the object fitted into the unit cube around the
origin; lens 35 mm on a sensor of 32 mm, so 49.1 degrees across 512 pixels. Read from cvlab-columbia/zero123,
objaverse-rendering/scripts/blender_script.py and zero123/ldm/data/simple.py.
"""

import io
from pathlib import Path

import numpy as np

from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.json_files import read_plain
from tunemv3d_data.layouts.conventions import OPENGL_W2C
from tunemv3d_data.layouts.views import (
    HALF_CUBE_RADIUS,
    SourceViews,
    any_folder_with,
    central,
    folders_with,
    matrices,
    rigid,
)

LOOKS_LIKE = "<uid>/000.png with 000.npy"
_LENS, _SENSOR = 35.0, 32.0


def recognise(path: Path) -> bool:
    """Return whether an object with 000.png and 000.npy lies there or below."""
    return any_folder_with(path, _is_object)


def find(path: Path) -> dict[str, Path]:
    """Find folders with 000.png and 000.npy."""
    return folders_with(path, _is_object)


def read(folder: Path) -> SourceViews:
    """Read one object.

    Raises:
        DatasetError: a picture without its matrix, or a matrix that is none.
    """
    files = tuple(sorted(folder.glob("[0-9][0-9][0-9].png")))
    world_to_camera = matrices(folder, [_matrix(file.with_suffix(".npy")) for file in files], (3, 4))
    return SourceViews(
        poses=rigid(folder, OPENGL_W2C.poses(world_to_camera)),
        read_as=OPENGL_W2C,
        intrinsics=central(_LENS / _SENSOR, len(files)),
        files=files,
        radius=HALF_CUBE_RADIUS,
    )


def _is_object(folder: Path) -> bool:
    return (folder / "000.png").is_file() and (folder / "000.npy").is_file()


def _matrix(path: Path) -> object:
    try:
        return np.load(io.BytesIO(read_plain(path)), allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(f"{path}: not a plain numpy array: {error}") from None
