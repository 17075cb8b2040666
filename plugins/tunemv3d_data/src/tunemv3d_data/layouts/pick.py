"""Choice of some of many pictures of an orbit: spread over where the cameras stand, the sharpest of each place."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import laplace

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.layouts.views import Floats
from tunemv3d_data.layouts.world import focus

_LARGEST = 1024
"""Pixels of the longer side at which sharpness is measured."""
_ROUNDS = 20


def sharpness(rgb: NDArray[np.uint8]) -> float:
    """Measure how sharp a picture ``h w 3`` (or ``h w 4``) is: the variance of its grey values' Laplacian.

    Source: Pech-Pacheco et al. 2000, Diatom autofocusing in brightfield microscopy.
    """
    image = Image.fromarray(rgb[..., :3]).convert("L")
    image.thumbnail((_LARGEST, _LARGEST))
    return float(laplace(np.asarray(image, dtype=np.float64)).var())


def spread_sharp(poses: Floats, sharp: Sequence[float], count: int) -> list[int]:
    """Choose ``count`` cameras that stand all around, each the sharpest near its place.

    As many places as wanted are spread over the cameras' directions from the object (farthest points, then the means of
    what is nearest to each). Of the cameras nearest to a place, those within a quarter of the way to the next place are
    compared.

    Args:
        poses: ``n 4 4``, camera to world, any units.
        sharp: of each picture.
        count: at least 1; all are chosen where there are no more.

    Returns:
        Indices in ascending order.
    """
    if len(poses) <= count:
        return list(range(len(poses)))
    directions = _directions(poses)
    places = _places(directions, count)
    cosines = directions @ places.T
    nearest = cosines.argmax(1)
    between = np.where(np.eye(count, dtype=bool), -1.0, places @ places.T).max(1) if count > 1 else np.array([-1.0])
    reach = np.cos(np.arccos(between.clip(-1, 1)) / 4)
    chosen = []
    for place in range(count):
        own = np.flatnonzero(nearest == place)
        near = own[cosines[own, place] >= min(reach[place], cosines[own, place].max())]
        chosen.append(int(max(near, key=lambda index: sharp[index])))
    return sorted(chosen)


def _directions(poses: Floats) -> Floats:
    """Directions ``n 3`` from where the cameras look to where they stand; where they look the same way, their own."""
    try:
        away = poses[:, :3, 3] - focus(poses)
    except DatasetError:
        away = -poses[:, :3, 2]
    lengths = np.linalg.norm(away, axis=1, keepdims=True)
    return np.asarray(away / np.where(lengths > 0, lengths, 1.0))


def _places(directions: Floats, count: int) -> Floats:
    """Spread ``count`` places over directions ``n 3``; each has at least one direction nearest to it."""
    chosen = [0]
    while len(chosen) < count:
        nearness = (directions @ directions[chosen].T).max(1)
        nearness[chosen] = np.inf
        chosen.append(int(nearness.argmin()))
    places = directions[chosen]
    for _ in range(_ROUNDS):
        nearest = (directions @ places.T).argmax(1)
        if len(np.unique(nearest)) < count:
            return directions[chosen]
        means = np.stack([directions[nearest == place].mean(0) for place in range(count)])
        lengths = np.linalg.norm(means, axis=1, keepdims=True)
        if (lengths < 1e-9).any():
            break
        moved = means / lengths
        if len(np.unique((directions @ moved.T).argmax(1))) < count:
            break
        places = moved
    return places
