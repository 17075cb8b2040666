"""Distances between two sets of vectors, in float64."""

import torch
from torch import Tensor

SIGMA, SCALE = 10.0, 1000.0
"""Width of CMMD's kernel and the factor on it (Jayasumana et al. 2024)."""


def kid(one: Tensor, other: Tensor) -> float:
    """Return the kernel inception distance (Bińkowski et al. 2018) between unit vectors ``n d`` and ``m d``.

    It is the unbiased estimate of the squared MMD under the kernel (x.y / d + 1)^3, of vectors scaled to a mean square
    of 1, for which x.y / d is the cosine. All pairs count; the original draws subsets, which only adds noise.
    """

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a.cpu().double() @ b.cpu().double().T + 1) ** 3

    def among(a: Tensor) -> Tensor:
        pairs = kernel(a, a)
        return (pairs.sum() - pairs.diagonal().sum()) / (len(a) * (len(a) - 1))

    return float(among(one) + among(other) - 2 * kernel(one, other).mean())


def cmmd(one: Tensor, other: Tensor) -> float:
    """Return CMMD between unit vectors ``n d`` and ``m d``: 1000 times the squared MMD under a kernel of width 10.

    The kernel is ``exp(-|x - y|^2 / 200)`` (Jayasumana et al. 2024).
    """

    def mean(a: Tensor, b: Tensor) -> Tensor:
        return torch.exp(-torch.cdist(a.cpu().double(), b.cpu().double()).square() / (2 * SIGMA**2)).mean()

    return max(0.0, float(SCALE * (mean(one, one) + mean(other, other) - 2 * mean(one, other))))
