"""Shares of objects: figures that are 0 or 1, of which a bootstrap has no width where all are equal."""

import numpy as np
from scipy.special import ndtri, stdtrit

from tunemv3d_eval.statistics.spread import Floats, standard_error


def are_shares(values: Floats) -> bool:
    """Tell whether all values that are there are 0 or 1."""
    return bool(np.isin(values[~np.isnan(values)], (0.0, 1.0)).all())


def share_interval(sums: Floats, counts: Floats) -> tuple[float, float]:
    """Return Wilson's 95 % score interval of a share, for prompts' successes and numbers of objects, ``p`` each.

    The number of objects is the effective one (Korn and Graubard, Survey Methodology 1998): so many independent ones
    would have the standard error that the spread between prompts gives. It lies between the number of prompts and that
    of objects.
    """
    share, z = sums.sum() / counts.sum(), ndtri(0.975)
    error = standard_error(sums, counts)
    effective = share * (1 - share) / error**2 if error else 0.0
    n = np.clip(effective, len(sums), counts.sum())
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return float(max(0.0, middle - half)), float(min(1.0, middle + half))


def difference_of_shares(sums: Floats, counts: Floats) -> tuple[float, float, float]:
    """Return the 95 % interval of a difference of two shares on the same objects, and its standard error.

    Agresti and Min (Statistics in Medicine 2005): half an object is added to each of the four cells (both, neither, one
    alone, the other alone), so that 30 equal results are not taken for certainty. The spread is that between prompts.

    Args:
        sums: of every prompt's differences, each -1, 0 or 1, ``p``.
        counts: of its objects, ``p``.
    """
    total = counts.sum() + 2
    mean = sums.sum() / total
    squares = ((sums - mean * counts) ** 2).sum() + mean**2 + ((1 - mean) ** 2 + (1 + mean) ** 2) / 2
    error = float(np.sqrt(squares) / total)
    half = stdtrit(len(sums) - 1, 0.975) * error
    return float(max(-1.0, mean - half)), float(min(1.0, mean + half)), error
