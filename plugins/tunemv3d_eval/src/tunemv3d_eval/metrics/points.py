"""How far apart two surfaces are, by points on them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

Points = NDArray[np.floating[Any]]
Distances = NDArray[np.float64]


def nearest(points: Points, others: Points) -> tuple[Distances, NDArray[np.intp]]:
    """Return the distance from each of ``p 3`` to its nearest of ``q 3``, and which one that is."""
    distances, indices = KDTree(others).query(points)
    return distances, indices


def chamfer(one: Points, other: Points) -> float:
    """Return the mean distance to the nearest point of the other, averaged over both directions; world units."""
    return float(nearest(one, other)[0].mean() + nearest(other, one)[0].mean()) / 2


def f_score(one: Points, other: Points, reach: float) -> float:
    """Return the harmonic mean of the two shares of points that lie within ``reach`` of the other surface, 0 to 1.

    Knapitsch et al., Tanks and Temples, 2017.
    """
    precision, recall = (float((nearest(*pair)[0] < reach).mean()) for pair in ((one, other), (other, one)))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
