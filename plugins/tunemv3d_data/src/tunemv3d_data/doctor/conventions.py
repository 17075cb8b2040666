"""Other readings of a dataset's cameras, each with a name and what to do if it is the one that fits."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tunemv3d_core.cameras import opengl_to_opencv
from tunemv3d_data.doctor.silhouettes import Floats

_OPENGL = (1, -1, -1)
_AXES = (("right", "left"), ("down", "up"), ("forward", "backward"))
_NICKNAMES = {
    (1, 1, 1): "OpenCV",
    _OPENGL: "OpenGL",
    (-1, -1, 1): "PyTorch3D",
    (1, -1, 1): "Unity, left-handed",
}
_SIGNS = (*_NICKNAMES, (-1, 1, 1), (-1, 1, -1), (-1, -1, -1), (1, 1, -1))


@dataclass(frozen=True)
class Reading:
    """Cameras as they would be if they had been stored in another way.

    Attributes:
        check: the finding's name, should this be the one that fits.
        name: what the stored numbers then are.
        advice: what to do.
        poses: ``n 4 4``, camera to world, OpenCV axes.
        intrinsics: ``n 4``.
        order: which picture each camera took, ``n``.
    """

    check: str
    name: str
    advice: str
    poses: Floats
    intrinsics: Floats
    order: np.ndarray


def readings(poses: Floats, intrinsics: Floats, size: tuple[int, int]) -> Iterator[Reading]:
    """Return all readings but the given one, likely ones first.

    Args:
        poses: as read, i.e. taken for OpenGL camera-to-world matrices and turned into OpenCV axes.
        intrinsics: as read, fractions of the image.
        size: (h, w) in pixels.
    """
    order = np.arange(len(poses))
    for name, advice, changed in _other_poses(poses):
        yield Reading("camera-convention", name, advice, changed, intrinsics, order)
    for name, advice, changed in _other_intrinsics(intrinsics, size):
        yield Reading("camera-units", name, advice, poses, changed, order)
    for name, changed in _other_orders(order):
        yield Reading(
            "picture-order", name, "put the pictures into the order of the cameras", poses, intrinsics, changed
        )


def _other_poses(poses: Floats) -> Iterator[tuple[str, str, Floats]]:
    stored = opengl_to_opencv(poses)
    bases = [("camera-to-world", "", stored)]
    if (np.abs(np.linalg.det(stored)) > 1e-9).all():
        inverse = np.asarray(np.linalg.inv(stored), dtype=np.float64)
        bases.append(("world-to-camera", "invert every matrix, then ", inverse))
    transposed = stored.copy()
    transposed[:, :3, :3] = stored[:, :3, :3].transpose(0, 2, 1)
    bases.append(("row-vector (transposed rotation)", "transpose every rotation, then ", transposed))
    for kind, before, base in bases:
        for signs in _SIGNS:
            if kind == "camera-to-world" and signs == _OPENGL:
                continue
            changed = base.copy()
            changed[:, :3, :3] *= np.array(signs, dtype=float)
            yield f"{_axes(signs)} {kind} matrices", _how(before, signs), changed


def _axes(signs: tuple[int, int, int]) -> str:
    words = [f"{axis} {names[sign < 0]}" for axis, names, sign in zip("xyz", _AXES, signs, strict=True)]
    nickname = _NICKNAMES.get(signs)
    return f"{nickname} ({', '.join(words)})" if nickname else f"mirrored ({', '.join(words)})"


def _how(before: str, signs: tuple[int, int, int]) -> str:
    factors = [sign * gl for sign, gl in zip(signs, _OPENGL, strict=True)]
    if factors == [1, 1, 1]:
        return before.removesuffix(", then ")
    return f"{before}multiply the matrix's columns x, y, z by {factors[0]}, {factors[1]}, {factors[2]}"


def _other_intrinsics(intrinsics: Floats, size: tuple[int, int]) -> Iterator[tuple[str, str, Floats]]:
    h, w = size
    pixels = np.array([w, h], dtype=float)

    def changed(focal: Floats | float = 1.0, centre: Floats | float = 1.0) -> Floats:
        return np.concatenate([intrinsics[:, :2] * focal, intrinsics[:, 2:] * centre], axis=1)

    multiply = "multiply fl_x and cx by w, fl_y and cy by h"
    yield "focal length and centre as fractions of the picture", multiply, changed(pixels, pixels)
    yield "a focal length as a fraction of the picture", "multiply fl_x by w and fl_y by h", changed(focal=pixels)
    yield "a centre as a fraction of the picture", "multiply cx by w and cy by h", changed(centre=pixels)
    middle = np.concatenate([intrinsics[:, :2], np.full_like(intrinsics[:, 2:], 0.5)], axis=1)
    yield "a centre that is not the picture's", "set cx to w / 2 and cy to h / 2", middle
    for factor in (2.0, 4.0, 8.0, 0.5, 0.25, 0.125):
        larger = f"{factor:g} times as large" if factor > 1 else f"{1 / factor:g} times as small"
        text = f"focal length and centre of pictures {larger}"
        yield text, f"divide fl_x, fl_y, cx and cy by {factor:g}", changed(1 / factor, 1 / factor)
    for factor in (2.0, 0.5):
        yield (
            f"a focal length {factor:g} times the true one",
            f"divide fl_x and fl_y by {factor:g}",
            changed(1 / factor),
        )


def _other_orders(order: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    yield "pictures in reverse order", order[::-1].copy()
    yield "pictures one place too early", np.roll(order, 1)
    yield "pictures one place too late", np.roll(order, -1)
