"""NeuS' and IDR's captures (DTU, BlendedMVS, one's own): cameras_sphere.npz, image/ and mask/.

``world_mat_<i>`` projects the world to pixels, ``scale_mat_<i>`` takes the unit sphere, which holds the object, to the
world. Their product is split into intrinsics, a rotation and a centre. Read from Totoro97/NeuS, models/dataset.py, and
lioryariv/idr, DATA_CONVENTION.md. The sphere is the object's; the world's upward direction is anything.
"""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy.linalg import rq

from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.json_files import read_plain
from tunemv3d_core.io.lenses import Lens, read_lens
from tunemv3d_data.layouts.conventions import OPENCV_W2C
from tunemv3d_data.layouts.masks import masks_of
from tunemv3d_data.layouts.views import Floats, SourceViews, any_folder_with, folders_with, picture_size

LOOKS_LIKE = "NeuS' cameras_sphere.npz beside image/ and mask/"
_CAMERAS = ("cameras_sphere.npz", "cameras_large.npz", "cameras.npz")
_PICTURES = ("*.png", "*.jpg", "*.jpeg")
_LARGEST_SKEW = 2e-3
"""Of the angle between a pixel's sides, in focal lengths: what rounding leaves."""


def recognise(path: Path) -> bool:
    """Return whether a cameras_sphere.npz beside image/ lies there or in a folder below."""
    return any_folder_with(path, _is_object)


def find(path: Path) -> dict[str, Path]:
    """Find folders that hold a cameras_sphere.npz beside image/."""
    return folders_with(path, _is_object)


def read(folder: Path) -> SourceViews:
    """Read one capture.

    Raises:
        DatasetError: a matrix is missing or projects nothing, or the file is damaged; names it and the camera.
    """
    path = next(folder / name for name in _CAMERAS if (folder / name).is_file())
    pictures = _folder_of_pictures(folder)
    files = tuple(sorted(file for pattern in _PICTURES for file in pictures.glob(pattern)))
    if not files:
        raise DatasetError(f"{pictures}: no pictures")
    poses, lenses = [], []
    for index, (matrix, file) in enumerate(zip(_projections(path, len(files)), files, strict=True)):
        pose, lens = _split(matrix, f"{path}: camera {index}", picture_size(file))
        poses.append(pose)
        lenses.append(lens)
    return SourceViews(
        poses=np.stack(poses),
        intrinsics=np.array([lens.intrinsics for lens in lenses]),
        files=files,
        read_as=OPENCV_W2C,
        radius=1.0,
        up=None,
        name=folder.resolve().name,
        **masks_of(path, files),
    )


def _is_object(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _CAMERAS) and _folder_of_pictures(folder).is_dir()


def _folder_of_pictures(folder: Path) -> Path:
    return next((place for place in (folder / "image", folder / "images") if place.is_dir()), folder / "image")


def _projections(path: Path, count: int) -> Floats:
    """Return ``n 4 4``: from the world in which the object's sphere is the unit sphere to pixels."""
    try:
        with np.load(io.BytesIO(read_plain(path)), allow_pickle=False) as content:
            world, scale = (_stacked(content, name, count) for name in ("world_mat", "scale_mat"))
    except KeyError as error:
        raise DatasetError(f"{path}: {error} is missing; there are {count} pictures") from None
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{path}: not plain numpy arrays of 4 x 4 numbers: {error}") from None
    return world @ scale


def _stacked(content: Mapping[str, Floats], name: str, count: int) -> Floats:
    found = np.stack([np.asarray(content[f"{name}_{index}"], dtype=np.float64) for index in range(count)])
    if found.shape != (count, 4, 4) or not np.isfinite(found).all():
        raise ValueError(f"{name} of {found.shape[1:]}")
    return found


def _split(projection: Floats, where: str, size: tuple[int, int]) -> tuple[Floats, Lens]:
    """Split a projection ``4 4`` into the pose ``4 4``, camera to world, and the lens."""
    to_pixels = projection[:3, :3]
    determinant = float(np.linalg.det(to_pixels))
    if abs(determinant) < 1e-12:
        raise DatasetError(f"{where}: the matrix projects nothing")
    upper, rotation = rq(to_pixels if determinant > 0 else -to_pixels)
    signs = np.where(np.diag(upper) < 0, -1.0, 1.0)
    upper, rotation = upper * signs, signs[:, None] * rotation
    upper = upper / upper[2, 2]
    if abs(upper[0, 1]) > _LARGEST_SKEW * upper[0, 0]:
        raise DatasetError(f"{where}: its pixels are skewed by {upper[0, 1] / upper[0, 0]:.3g}, which is not read")
    pose = np.eye(4)
    pose[:3, :3] = rotation.T
    pose[:3, 3] = -np.linalg.solve(to_pixels, projection[:3, 3])
    # Both projects look at pixel i through i, not through i + 0.5.
    keys = {"fl_x": upper[0, 0], "fl_y": upper[1, 1], "cx": upper[0, 2] + 0.5, "cy": upper[1, 2] + 0.5}
    return pose, read_lens(keys, where, size)
