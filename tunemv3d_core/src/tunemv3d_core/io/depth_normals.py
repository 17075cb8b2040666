"""Depth and normals on disk: PNG files that other tools read, accurate to 0.001 world units and half a degree.

Depth is nerfstudio's default: 16 bit, in 1/1000 world units. Normals are the usual 8-bit colours. Both hold 0 where
nothing was hit.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.generated import save_picture
from tunemv3d_core.io.pictures import open_picture

DEPTH_SCALE = 1000.0
"""Steps per world unit."""
FARTHEST = 65.535
"""The largest depth that 16 bits hold, world units."""


def save_depth(path: Path, depth: NDArray[np.floating[Any]], xmp: bytes = b"") -> None:
    """Write z depth, ``h w``, world units, 0 where nothing was hit; with an XMP packet where a model made it.

    Raises:
        DatasetError: a depth is negative, not finite or beyond ``FARTHEST``.
    """
    steps = np.rint(np.asarray(depth, dtype=np.float32) * np.float32(DEPTH_SCALE))
    if not (steps >= 0).all() or not (steps <= 65535).all():
        raise DatasetError(f"{path}: depths must lie in 0 to {FARTHEST}, got {np.min(depth)} to {np.max(depth)}")
    save_picture(Image.fromarray(steps.astype(np.uint16)), path, xmp)


def read_depth(path: Path) -> NDArray[np.float32]:
    """Read z depth, ``h w``, world units, 0 where nothing was hit.

    Raises:
        DatasetError: missing, damaged, or not a picture with one channel.
    """
    steps = _pixels(path)
    if steps.ndim != 2:
        raise DatasetError(f"{path}: depth needs one channel, got a picture of shape {steps.shape}")
    return np.asarray(steps / DEPTH_SCALE, dtype=np.float32)


def save_normals(path: Path, normals: NDArray[np.floating[Any]], xmp: bytes = b"") -> None:
    """Write unit normals, ``h w 3``, world space, 0 where nothing was hit, as round((n + 1) / 2 * 255).

    With an XMP packet where a model made them.
    """
    unit = np.asarray(normals, dtype=np.float32)
    colours = np.clip(np.rint((unit + 1) * np.float32(127.5)), 0, 255).astype(np.uint8)
    colours[~unit.any(-1)] = 0
    save_picture(Image.fromarray(colours), path, xmp)


def read_normals(path: Path) -> NDArray[np.float32]:
    """Read unit normals, ``h w 3``, world space, 0 where nothing was hit.

    Raises:
        DatasetError: missing, damaged, or not a picture with three channels.
    """
    colours = _pixels(path)
    if colours.ndim != 3 or colours.shape[-1] != 3:
        raise DatasetError(f"{path}: normals need three channels, got a picture of shape {colours.shape}")
    normals = colours.astype(np.float32) / 127.5 - 1
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-6)
    return np.where(colours.any(-1, keepdims=True), normals, 0).astype(np.float32)


def _pixels(path: Path) -> NDArray[Any]:
    try:
        with open_picture(path) as image:
            return np.asarray(image)
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise DatasetError(f"{path}: not a readable picture: {error}") from None
