"""COLMAP's cameras and images, as text and binary: cameras.txt, images.txt, cameras.bin, images.bin.

Read from colmap/colmap: doc/format.rst, doc/cameras.rst, src/colmap/sensor/models.h (names, numbers and parameters of
the camera models) and src/colmap/scene/reconstruction_io_binary.cc. Pixel 0 is centred at 0.5 there, as here. Points
are not read: they are of the ground, too, so that silhouettes tell more of the object.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.json_files import MAX_LIST_BYTES, read_plain
from tunemv3d_core.io.lenses import Lens, read_lens

Floats = NDArray[np.float64]

_RADIAL = {
    "SIMPLE_PINHOLE": ("fl_x", "cx", "cy"),
    "PINHOLE": ("fl_x", "fl_y", "cx", "cy"),
    "SIMPLE_RADIAL": ("fl_x", "cx", "cy", "k1"),
    "RADIAL": ("fl_x", "cx", "cy", "k1", "k2"),
    "OPENCV": ("fl_x", "fl_y", "cx", "cy", "k1", "k2", "p1", "p2"),
    "FULL_OPENCV": ("fl_x", "fl_y", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
}
_FISHEYE = {
    "OPENCV_FISHEYE": ("fl_x", "fl_y", "cx", "cy", "k1", "k2", "k3", "k4"),
    "SIMPLE_RADIAL_FISHEYE": ("fl_x", "cx", "cy", "k1"),
    "RADIAL_FISHEYE": ("fl_x", "cx", "cy", "k1", "k2"),
    "SIMPLE_FISHEYE": ("fl_x", "cx", "cy"),
    "FISHEYE": ("fl_x", "fl_y", "cx", "cy"),
}
_NUMBERED = (
    *("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "OPENCV_FISHEYE", "FULL_OPENCV", "FOV"),
    *("SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "THIN_PRISM_FISHEYE", "RAD_TAN_THIN_PRISM_FISHEYE"),
    *("SIMPLE_DIVISION", "DIVISION", "SIMPLE_FISHEYE", "FISHEYE", "EUCM", "EQUIRECTANGULAR"),
)
"""Camera models in the order of their numbers in binary files."""


@dataclass(frozen=True)
class ColmapImage:
    """One registered picture.

    Attributes:
        name: its file, relative to the folder of the pictures.
        camera: key of its lens.
        world_to_camera: ``4 4``, OpenCV axes.
    """

    name: str
    camera: int
    world_to_camera: Floats


def read_model(folder: Path) -> tuple[dict[int, Lens], list[ColmapImage]]:
    """Read lenses by number and the registered pictures, sorted by name; binary files come before text.

    Raises:
        DatasetError: a file is missing, damaged or empty, or a camera model is not read; names the file.
    """
    suffix = ".bin" if (folder / "images.bin").is_file() else ".txt"
    cameras, images = folder / f"cameras{suffix}", folder / f"images{suffix}"
    try:
        lenses = dict(_cameras_binary(cameras) if suffix == ".bin" else _cameras_text(cameras))
        found = list(_images_binary(images) if suffix == ".bin" else _images_text(images))
    except FileNotFoundError as error:
        raise DatasetError(f"{error.filename}: no such file; COLMAP writes it beside the other") from None
    except OSError as error:
        raise DatasetError(f"{error.filename}: cannot be read: {error.strerror}") from None
    except (struct.error, ValueError, IndexError, OverflowError) as error:  # a text of other things, half a file
        raise DatasetError(f"{folder}: cameras{suffix} or images{suffix} is damaged: {error}") from None
    if not found:
        raise DatasetError(f"{images}: no picture is registered")
    if missing := {image.camera for image in found} - lenses.keys():
        raise DatasetError(f"{cameras}: camera {min(missing)}, which a picture refers to, is not there")
    return lenses, sorted(found, key=lambda image: image.name)


def is_model(folder: Path) -> bool:
    """Return whether COLMAP's cameras and images lie there."""
    return any((folder / f"cameras{end}").is_file() and (folder / f"images{end}").is_file() for end in (".bin", ".txt"))


def _lens(path: Path, number: int, model: str, size: tuple[int, int], params: tuple[float, ...]) -> Lens:
    where = f"{path}: camera {number}"
    names = _RADIAL.get(model) or _FISHEYE.get(model)
    if names is None:
        raise DatasetError(f"{where}: camera model {model} is not read; run colmap image_undistorter first")
    if len(params) != len(names):
        raise DatasetError(f"{where}: {len(params)} parameters of {model}, which has {len(names)}")
    keys = {**dict(zip(names, params, strict=True)), "is_fisheye": model in _FISHEYE}
    return read_lens(keys, where, size)


def _cameras_text(path: Path) -> Iterator[tuple[int, Lens]]:
    for line in read_plain(path, MAX_LIST_BYTES).decode().splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            number, model, width, height, *params = line.split()
            size = (int(height), int(width))
            yield int(number), _lens(path, int(number), model, size, tuple(float(value) for value in params))


def _images_text(path: Path) -> Iterator[ColmapImage]:
    """Two lines a picture; the second one, its keypoints, may be empty."""
    lines = iter(read_plain(path, MAX_LIST_BYTES).decode().splitlines())
    for line in lines:
        if line.strip() and not line.lstrip().startswith("#"):
            _, *pose, camera, name = line.strip().split(maxsplit=9)
            yield ColmapImage(name, int(camera), _world_to_camera([float(value) for value in pose]))
            next(lines, "")


def _cameras_binary(path: Path) -> Iterator[tuple[int, Lens]]:
    data, at = read_plain(path, MAX_LIST_BYTES), 8
    for _ in range(struct.unpack_from("<Q", data)[0]):
        number, model, width, height = struct.unpack_from("<IiQQ", data, at)
        name = _NUMBERED[model] if 0 <= model < len(_NUMBERED) else f"number {model}"
        count = len(_RADIAL.get(name) or _FISHEYE.get(name) or ())
        params = struct.unpack_from(f"<{count}d", data, at + 24)
        at += 24 + 8 * count
        yield number, _lens(path, number, name, (height, width), params)


def _images_binary(path: Path) -> Iterator[ColmapImage]:
    data, at = read_plain(path, MAX_LIST_BYTES), 8
    for _ in range(struct.unpack_from("<Q", data)[0]):
        _, *pose, camera = struct.unpack_from("<I7dI", data, at)
        end = data.index(b"\0", at + 64)
        name = data[at + 64 : end].decode("utf-8")
        at = end + 9 + 24 * struct.unpack_from("<Q", data, end + 1)[0]  # x, y and a point's number each
        if at > len(data):
            raise ValueError("it ends in the middle of a picture's keypoints")
        yield ColmapImage(name, camera, _world_to_camera(pose))


def _world_to_camera(pose: list[float]) -> Floats:
    """Matrix ``4 4`` of a quaternion w, x, y, z (Hamilton's) and a translation."""
    w, x, y, z = np.array(pose[:4]) / np.linalg.norm(pose[:4])
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = pose[4:]
    if not np.isfinite(matrix).all():
        raise ValueError("a pose is not finite")
    return matrix
