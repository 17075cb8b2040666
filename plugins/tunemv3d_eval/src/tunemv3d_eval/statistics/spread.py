"""Sums over prompts and the spread between them."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def sums_and_counts(values: Floats) -> tuple[Floats, Floats]:
    """Return the sum and the number of the values of every prompt that has any, ``p'`` each.

    Args:
        values: ``p s``; NaN where there is none.

    Raises:
        ValueError: the values have other axes.
    """
    if values.ndim != 2:
        raise ValueError(f"values should be 'prompts seeds', got {values.ndim} axes")
    there = ~np.isnan(values)
    counts = there.sum(1).astype(np.float64)
    sums = np.where(there, values, 0.0).sum(1)
    return sums[counts > 0], counts[counts > 0]


def standard_error(sums: Floats, counts: Floats) -> float:
    """Return the standard error of the mean, from the spread between at least two prompts ``p`` (a ratio estimate)."""
    prompts, total = len(sums), counts.sum()
    residuals = sums - sums.sum() / total * counts
    return float(np.sqrt((residuals**2).sum() * prompts / (prompts - 1)) / total)
