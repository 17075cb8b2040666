"""Search for the reading of an object's cameras that its silhouettes agree with."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tunemv3d_data.doctor.conventions import Reading, readings
from tunemv3d_data.doctor.hull import centre_of
from tunemv3d_data.doctor.silhouettes import Floats, in_camera, tangency_errors
from tunemv3d_data.layouts.conventions import OPENGL, Convention

Views = NDArray[np.int64]

FEWEST = 3
"""Whole views below which silhouettes prove nothing."""

OUTLIER = 2.0
"""Tolerances from which a single view does not belong to the others."""


@dataclass(frozen=True)
class Silhouettes:
    """Input of the fit: an object's outlines and cameras.

    Attributes:
        outlines: ``n p 2``, fractions of the image.
        poses: ``n 4 4``, intrinsics: ``n 4``, as read.
        whole: the views whose outline is the object's.
        size: (h, w) in pixels.
        tolerance: pixels.
        read_as: the convention by which the poses were read.
    """

    outlines: Floats
    poses: Floats
    intrinsics: Floats
    whole: Views
    size: tuple[int, int]
    tolerance: float
    read_as: Convention = OPENGL


@dataclass(frozen=True)
class Fit:
    """Agreement of cameras and silhouettes.

    Attributes:
        fits: the cameras as read agree with most views.
        error: their median, pixels.
        errors: error of every view's better side, ``n``; NaN where it cannot be measured.
        reading: what fits instead, None where the given cameras fit or nothing does.
        in_front: the object lies before most cameras, as read.
    """

    fits: bool
    error: float
    errors: Floats
    reading: Reading | None
    in_front: bool


def find_fit(seen: Silhouettes) -> Fit | None:
    """Test the cameras as read and, should they not fit, all other readings; None where too few views can be tested."""
    if len(seen.whole) < FEWEST or not np.isfinite(seen.poses).all():
        return None
    worse, errors = view_errors(seen, seen.poses, seen.intrinsics)
    measured = np.isfinite(worse)
    error = float(np.median(worse[measured])) if measured.sum() >= FEWEST else float("inf")
    in_front = is_in_front(seen, seen.poses, seen.intrinsics) > 0.7
    if error <= seen.tolerance and in_front:
        return Fit(True, error, errors, None, in_front)
    best: tuple[float, Reading] | None = None
    for reading in readings(seen.poses, seen.intrinsics, seen.size, seen.read_as):
        other = _error_of(seen, reading)
        if other <= seen.tolerance and (best is None or other < 0.7 * best[0]):
            best = (other, reading)
    if best is None and not np.isfinite(error):
        return None
    return Fit(False, error, errors, best[1] if best else None, in_front)


def _error_of(seen: Silhouettes, reading: Reading) -> float:
    """Return the error of the worst views but a tenth, scaled as the median; infinite with objects behind cameras."""
    reordered = Silhouettes(
        seen.outlines[reading.order],
        reading.poses,
        reading.intrinsics,
        np.flatnonzero(np.isin(reading.order, seen.whole)),
        seen.size,
        seen.tolerance,
    )
    if is_in_front(reordered, reading.poses, reading.intrinsics) < 0.99:
        return float("inf")
    errors, _ = view_errors(reordered, reading.poses, reading.intrinsics)
    finite = errors[np.isfinite(errors)]
    enough = len(finite) >= max(FEWEST, 0.7 * len(seen.whole))
    return float(np.quantile(finite, 0.9) / 1.5) if enough else float("inf")


def view_errors(seen: Silhouettes, poses: Floats, intrinsics: Floats) -> tuple[Floats, Floats]:
    """Pixels by which each view's outline misses the others' on its worse and on its better side, ``n`` each.

    The median over partners; NaN without any. One side is off where something thin, an antenna, shows in some views
    only; both are where the view does not belong.
    """
    views = seen.whole
    directions = in_camera(seen.outlines[views], intrinsics[views])
    pairs = tangency_errors(directions, poses[views], intrinsics[views, 0] * seen.size[1])
    worse, better = np.full((2, len(poses)), np.nan)
    some = np.isfinite(pairs).any((1, 2))
    worse[views[some]] = np.nanmedian(pairs[some].max(-1), axis=1)
    better[views[some]] = np.nanmedian(pairs[some].min(-1), axis=1)
    return worse, better


def is_in_front(seen: Silhouettes, poses: Floats, intrinsics: Floats) -> float:
    """Return the share of whole views before whose camera the object lies."""
    directions = in_camera(seen.outlines[seen.whole], intrinsics[seen.whole])
    _, depth = centre_of(directions, poses[seen.whole])
    return float((depth > 0).mean())


def camera_that_took(seen: Silhouettes, view: int, cameras: Iterable[int], trusted: Views) -> int | None:
    """Find the one of ``cameras`` that explains picture ``view``, as the ``trusted`` views judge; None if none does."""
    best, least = None, seen.tolerance
    for camera in cameras:
        views = np.append(trusted[trusted != camera], view)
        poses = seen.poses[views].copy()
        poses[-1] = seen.poses[camera]
        directions = in_camera(seen.outlines[views], seen.intrinsics[views])
        pairs = tangency_errors(directions, poses, seen.intrinsics[views, 0] * seen.size[1])[-1].max(-1)
        error = float(np.nanmedian(pairs)) if np.isfinite(pairs).any() else np.inf
        if camera != view and error < least:
            best, least = camera, error
    return best


def shifted_errors(seen: Silhouettes, shifts: tuple[float, ...] = (-0.5, 0.0, 0.5)) -> tuple[float, ...]:
    """Return the mean error, were the principal point moved right by so many pixels."""
    found = []
    for shift in shifts:
        moved = seen.intrinsics + np.array([0, 0, shift / seen.size[1], 0])
        found.append(float(np.nanmean(view_errors(seen, seen.poses, moved)[0])))
    return tuple(found)
