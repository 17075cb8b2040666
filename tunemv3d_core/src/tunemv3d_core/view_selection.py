"""Choice of an object's views from where its cameras stand, never from their order, and the side that none sees.

Azimuth and elevation are those of a camera's centre as seen from the world's origin, in degrees: azimuth 0 is the
object's front (-y), 90 its right (+x); elevation 90 is straight above.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import CameraError

Floats = NDArray[np.float64]

CLIMB, OFF_MEDIAN = 3.0, 5.0
"""Degrees by which the elevation changes from view to view, or lies off the median, that count as one of azimuth."""

_SIDES = ("front", "front right", "right", "back right", "back", "back left", "left", "front left")
_TIE = 1e-3
"""Choices whose costs (square degrees) differ by less are equally good: what rounding alone would decide."""
_POLE, _HALF = 89.9, 179.9
"""Elevation from which a camera stands on no side of the object, and the angle that counts as half of it; degrees."""


def spread_views(cameras: Cameras, count: int) -> list[int]:
    """Choose cameras that stand evenly around the object, as level as they can.

    Of all sets of ``count`` cameras, the one with the smallest sum over its views of (azimuth step to the next view)² +
    (elevation step to it / 3)² + ((elevation - median elevation of all cameras) / 5)², in degrees, found exactly. The
    azimuth steps add up to 360, so their squares are smallest where all are equal: a camera ring as ``tunemv3d data
    render`` makes it is what is chosen. Of equally good sets, the one that begins nearest to the front,
    counter-clockwise, is taken.

    Args:
        cameras: ``(n,)``.
        count: 1 to n.

    Returns:
        Indices, going round counter-clockwise as seen from above (growing azimuth). The order of the cameras has no
        influence on which are chosen; it decides only which of them begins the round: the one with the lowest index.

    Raises:
        CameraError: fewer cameras than ``count``, or ``count`` is less than 1.
    """
    if not 1 <= count <= cameras.shape[0]:
        raise CameraError(f"{count} views cannot be chosen from {cameras.shape[0]} cameras")
    order, azimuth, elevation = _by_position(cameras)
    chosen = [int(order[place]) for place in _most_even(azimuth, elevation, count)]
    first = chosen.index(min(chosen))
    return chosen[first:] + chosen[:first]


def farthest_views(cameras: Cameras, count: int, seen: Sequence[int]) -> list[int]:
    """Choose further cameras, each as far as possible from all that were taken before (great-circle angle).

    Args:
        cameras: ``(n,)``.
        count: how many, at most n - len(seen).
        seen: indices of the cameras that are taken already, at least one.

    Returns:
        Indices in the order in which they were chosen. Ties are broken by position in space: the smallest azimuth, then
        the smallest elevation.

    Raises:
        CameraError: fewer cameras than that, or none was seen.
    """
    if not seen or len(seen) + count > cameras.shape[0]:
        raise CameraError(f"{count} views cannot be chosen from {cameras.shape[0]} cameras, {len(seen)} of them taken")
    order, azimuth, elevation = _by_position(cameras)
    angles = np.radians(np.stack([azimuth, elevation]))
    directions = np.stack([np.cos(angles[0]), np.sin(angles[0]), np.tan(angles[1])], axis=-1)
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    cosines = np.round(directions @ directions.T, 9)
    taken = np.isin(order, np.asarray(seen))
    nearest = cosines[taken].max(axis=0)
    chosen: list[int] = []
    for _ in range(count):
        place = int(np.where(taken, np.inf, nearest).argmin())
        taken[place] = True
        nearest = np.maximum(nearest, cosines[place])
        chosen.append(int(order[place]))
    return chosen


@dataclass(frozen=True)
class UnseenSide:
    """A side of the object where no camera stands.

    Attributes:
        azimuth: its middle, degrees.
        angle: how far it reaches around the object, degrees; 180 or more.
    """

    azimuth: float
    angle: float

    def __str__(self) -> str:
        side = _SIDES[round(self.azimuth / 45) % 8]
        return (
            "all cameras stand on one side of the object: there is none within "
            f"{self.angle / 2:.0f} degrees of azimuth {self.azimuth:.0f} (its {side})"
        )


def unseen_side(cameras: Cameras) -> UnseenSide | None:
    """Find the half of the sphere, or more of it, that no camera sees because all stand on the other side.

    Such a half has a vertical border. Cameras that are all above the object are not meant: a ring at one elevation sees
    the object from every side. None where cameras stand all around, or one is not finite.

    Args:
        cameras: ``(n,)``.
    """
    _, azimuth, elevation = _by_position(cameras)
    sides = azimuth[np.abs(elevation) < _POLE]
    if not len(sides) or not np.isfinite(azimuth).all():
        return None
    gaps = np.diff(sides, append=sides[0] + 360.0)
    widest = int(gaps.argmax())
    angle = float(gaps[widest])
    return UnseenSide((float(sides[widest]) + angle / 2) % 360, angle) if angle >= _HALF else None


def _by_position(cameras: Cameras) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Camera indices in an order that depends on their poses alone, and in this order azimuth and elevation, degrees.

    Azimuth, from 0 to 360, counts first, then elevation, then the rest of the pose. Rounding keeps a camera that is in
    front but for rounding errors at azimuth 0.
    """
    pose = cameras.camera_to_world.detach().cpu().double().numpy()
    x, y, z = pose[:, :3, 3].T
    azimuth = np.round(np.degrees(np.arctan2(x, -y)), 6) % 360
    elevation = np.round(np.degrees(np.arctan2(z, np.hypot(x, y))), 6)
    order = np.lexsort((*pose.reshape(len(pose), 16).T, elevation, azimuth))
    return order, azimuth[order], elevation[order]


def _most_even(azimuth: Floats, elevation: Floats, count: int) -> list[int]:
    """Solve ``spread_views`` for cameras sorted by azimuth, by dynamic programming from every possible first view.

    A set as good as the best so far has no gap wider than ``widest``, so that one of its views lies that near to the
    first camera: no other beginning need be tried.
    """
    best, chosen, widest = math.inf, [0], 360.0
    least = float(np.sort(_off_median(elevation))[:count].sum())
    for start in range(len(azimuth)):
        if azimuth[start] - azimuth[0] > widest:
            break
        cost, places = _best_round(start, azimuth, elevation, count)
        if cost < best - _TIE:
            best, chosen = cost, places
            widest = _widest_gap(best - least + _TIE, count)
    return chosen


def _off_median(elevation: Floats) -> Floats:
    """Cost of each view by itself."""
    return np.square((elevation - np.median(elevation)) / OFF_MEDIAN)


def _best_round(start: int, azimuth: Floats, elevation: Floats, count: int) -> tuple[float, list[int]]:
    """Find the least cost of ``count`` views, the first of them ``start``, and their places."""
    views = len(azimuth)
    turn = np.roll(azimuth, -start) - azimuth[start]
    turn[views - start :] += 360
    height = np.roll(elevation, -start)
    own = _off_median(height)
    later = np.arange(views)[:, None] < np.arange(views)
    climbs = np.square((height - height[:, None]) / CLIMB)
    steps = np.where(later, np.square(turn - turn[:, None]) + climbs, np.inf)
    cost = np.where(np.arange(views) == 0, own, np.inf)
    before: list[NDArray[np.int64]] = []
    for _ in range(count - 1):
        sums = cost[:, None] + steps
        before.append(sums.argmin(axis=0))
        cost = sums.min(axis=0) + own
    cost = cost + np.square(360 - turn) + climbs[:, 0]
    places = [int(cost.argmin())]
    for previous in reversed(before):
        places.append(int(previous[places[-1]]))
    return float(cost.min()), [(place + start) % views for place in reversed(places)]


def _widest_gap(squares: float, count: int) -> float:
    """Find the widest of ``count`` gaps that add up to 360 degrees and whose squares add up to ``squares``."""
    return (360 + math.sqrt(max(0.0, (count - 1) * (count * squares - 360.0**2)))) / count
