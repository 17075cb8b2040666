"""Other readings of a dataset's cameras, each with a name and what to do if it is the one that fits."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

import numpy as np

from tunemv3d_data.doctor.silhouettes import Floats
from tunemv3d_data.layouts.conventions import NICKNAMES, Convention, Kind, Signs

_SIGNS: tuple[Signs, ...] = (*NICKNAMES, (-1, 1, 1), (-1, 1, -1), (-1, -1, -1), (1, 1, -1))
_KINDS = get_args(Kind)


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
        convention: that of the stored matrices.
    """

    check: str
    name: str
    advice: str
    poses: Floats
    intrinsics: Floats
    order: np.ndarray
    convention: Convention


def readings(poses: Floats, intrinsics: Floats, size: tuple[int, int], read_as: Convention) -> Iterator[Reading]:
    """Return all readings but the given one, likely ones first.

    Args:
        poses: as read, camera to world, OpenCV axes, in the world in which they are stored.
        intrinsics: as read, fractions of the image.
        size: (h, w) in pixels.
        read_as: the convention by which ``poses`` were read.
    """
    order = np.arange(len(poses))
    for convention, changed in _other_poses(poses, read_as):
        advice = _how(convention, read_as)
        yield Reading("camera-convention", str(convention), advice, changed, intrinsics, order, convention)
    for name, advice, other in _other_intrinsics(intrinsics, size):
        yield Reading("camera-units", name, advice, poses, other, order, read_as)
    advice = "put the pictures into the order of the cameras"
    for name, exchanged in _other_orders(order):
        yield Reading("picture-order", name, advice, poses, intrinsics, exchanged, read_as)


def _other_poses(poses: Floats, read_as: Convention) -> Iterator[tuple[Convention, Floats]]:
    stored = read_as.stored(poses)
    has_inverse = (np.abs(np.linalg.det(stored)) > 1e-9).all()
    for kind in _KINDS:
        for signs in _SIGNS:
            convention = Convention(signs, kind)
            if convention != read_as and (has_inverse or kind != "world-to-camera"):
                yield convention, convention.poses(stored)


def _how(convention: Convention, read_as: Convention) -> str:
    """Say what turns matrices of one convention into those of another."""
    turns = {"world-to-camera": "invert every matrix", "row-vector (transposed rotation)": "transpose every rotation"}
    steps = [turns[convention.kind]] if convention.kind in turns else []
    factors = [sign * other for sign, other in zip(convention.axes, read_as.axes, strict=True)]
    if factors != [1, 1, 1]:
        steps.append("multiply the matrix's columns x, y, z by {}, {}, {}".format(*factors))
    if read_as.kind in turns:
        steps.append(turns[read_as.kind])
    return ", then ".join(steps)


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
