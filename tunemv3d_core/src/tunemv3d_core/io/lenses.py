"""Lenses as ``transforms.json`` states them, for the whole file or per frame: focal lengths, centre, distortion.

The keys are those of instant-ngp and nerfstudio: ``fl_x``, ``fl_y``, ``cx``, ``cy``, ``w``, ``h`` in pixels,
``camera_angle_x`` and ``camera_angle_y`` in radians, ``k1`` to ``k6``, ``p1`` and ``p2`` with OpenCV's meaning.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunemv3d_core.errors import DatasetError

DISTORTIONS = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
"""Names of coefficients, in OpenCV's order."""

LENS_KEYS = frozenset(
    {"camera_model", "is_fisheye", "w", "h", "fl_x", "fl_y", "cx", "cy", "camera_angle_x", "camera_angle_y"}
    | set(DISTORTIONS)
)
"""Keys that say something of a lens, of the file or of a frame."""

_CONVERT = "tunemv3d data convert --layout nerfstudio"
_PINHOLE = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "PERSPECTIVE", "SIMPLE_RADIAL", "RADIAL", "FULL_OPENCV")
_FISHEYE = ("OPENCV_FISHEYE", "FISHEYE")


@dataclass(frozen=True)
class Lens:
    """Lens that took one picture.

    Attributes:
        size: (h, w) in pixels.
        intrinsics: fx, fy, cx, cy as fractions of width and height.
        distortion: names (``DISTORTIONS``, as OpenCV's) and values of the coefficients that are not 0.
        is_fisheye: ``distortion`` is of OpenCV's fisheye model, in which equal angles have equal lengths.
    """

    size: tuple[int, int]
    intrinsics: tuple[float, float, float, float]
    distortion: tuple[tuple[str, float], ...] = ()
    is_fisheye: bool = False

    @property
    def is_pinhole(self) -> bool:
        """Return whether straight lines stay straight."""
        return not self.distortion and not self.is_fisheye

    def __str__(self) -> str:
        numbers = ", ".join(f"{name} = {value:g}" for name, value in self.distortion)
        return f"{'fisheye' if self.is_fisheye else 'distorted'}{f' ({numbers})' if numbers else ''}"


def read_lens(known: Mapping[str, Any], where: str, size: tuple[int, int] | None = None) -> Lens:
    """Read a lens from the keys of ``transforms.json``.

    Args:
        known: the file's keys, and a frame's own over them.
        where: file, or file and frame, for messages.
        size: (h, w) of the picture where the keys do not say it.

    Raises:
        DatasetError: a key is missing, a number is not finite or makes no sense, or the camera model is not read.
    """
    model = str(known.get("camera_model", "OPENCV"))
    if model not in (*_PINHOLE, *_FISHEYE):
        raise DatasetError(f"{where}: camera model {model} is not read; undistort the pictures first (PINHOLE)")
    try:
        h, w = (int(known["h"]), int(known["w"])) if size is None or {"h", "w"} <= known.keys() else size
        if min(w, h) < 1:
            raise ValueError(f"'w' and 'h' must be at least 1, got {w} and {h}")
        fx, fy = _focal(known, h, w)
        cx, cy = _number(known, "cx", w / 2), _number(known, "cy", h / 2)
        bent = tuple((name, value) for name in DISTORTIONS if name in known and (value := _number(known, name)) != 0)
    except KeyError as error:
        raise DatasetError(f"{where}: the key {error} is missing") from None
    except (TypeError, ValueError, ArithmeticError) as error:
        raise DatasetError(f"{where}: {error}") from None
    is_fisheye = model in _FISHEYE or bool(known.get("is_fisheye", False))
    return Lens((h, w), (fx / w, fy / h, cx / w, cy / h), bent, is_fisheye)


def read_lenses(content: Mapping[str, Any], frames: Sequence[Mapping[str, Any]], path: Path | str) -> list[Lens]:
    """Read the lenses of pictures that need no undistortion and have one size.

    Args:
        content: the file's keys.
        frames: its frames; their own keys come first.
        path: the file, for messages.

    Returns:
        One lens for all frames, or one per frame where a frame has keys of its own.

    Raises:
        DatasetError: as ``read_lens``; a lens distorts, or sizes differ. Names the file and the frame.
    """
    if all(LENS_KEYS.isdisjoint(frame) for frame in frames):
        lenses = {str(path): read_lens(content, str(path))}
    else:
        places = [f"{path}: frame {i} ({str(frame.get('file_path', ''))[:80]})" for i, frame in enumerate(frames)]
        lenses = {where: read_lens({**content, **frame}, where) for where, frame in zip(places, frames, strict=True)}
    size = next(iter(lenses.values())).size
    for where, lens in lenses.items():
        if not lens.is_pinhole:
            raise DatasetError(f"{where}: the lens is {lens}; straighten the pictures: {_CONVERT} --undistort")
        if lens.size != size:
            sizes = f"{lens.size[1]} x {lens.size[0]} pixels, but frame 0 has {size[1]} x {size[0]}"
            raise DatasetError(f"{where}: {sizes}; give an object's pictures one size: {_CONVERT}")
    return list(lenses.values())


def _focal(known: Mapping[str, Any], h: int, w: int) -> tuple[float, float]:
    """Return both focal lengths in pixels; pixels are square where only one is known."""
    if "fl_x" not in known and "camera_angle_x" in known:
        fx = _of_angle(known, "camera_angle_x", w)
        fy = _of_angle(known, "camera_angle_y", h) if "camera_angle_y" in known else fx
    elif "fl_x" in known:
        fx = fy = _number(known, "fl_x")
    else:
        raise ValueError("the key 'fl_x' is missing, and so is 'camera_angle_x'")
    fy = _number(known, "fl_y", fy)
    for name, value in (("fl_x", fx), ("fl_y", fy)):
        if value <= 0:
            raise ValueError(f"the focal length '{name}' must be positive, got {value:g}")
    return fx, fy


def _of_angle(known: Mapping[str, Any], key: str, pixels: int) -> float:
    angle = _number(known, key)
    if not 0 < angle < math.pi:
        raise ValueError(f"'{key}' must be a field of view in radians, between 0 and pi, got {angle:g}")
    return 0.5 * pixels / math.tan(angle / 2)


def _number(known: Mapping[str, Any], key: str, default: float | None = None) -> float:
    value = float(known[key] if default is None else known.get(key, default))
    if not math.isfinite(value):
        raise ValueError(f"'{key}' is not a finite number: {value}")
    return value
