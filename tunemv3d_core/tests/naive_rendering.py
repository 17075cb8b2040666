"""NeuS and NeRF, a ray and a section at a time, in Python's own float64: what the vectorised code is compared with."""

import math

from tunemv3d_core.rendering.volume import MIN_OPACITY, PDF_FLOOR


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else math.exp(max(x, -745))


def naive_alpha(before: float, after: float, s: float) -> float:
    """The opacity of a section between two signed distances."""
    if (
        s * max(before, after) < -600
    ):  # deep inside both sigmoids vanish; their quotient then is exp(s (after - before))
        return 1 - math.exp(max(min(s * (after - before), 0), -745))
    return max(0.0, 1 - sigmoid(s * after) / max(sigmoid(s * before), 1e-300))


def naive_ray(
    distances: list[float], values: list[float], depths: list[float], s: float
) -> tuple[float, float, float, list[float]]:
    """Value, opacity, depth and the sections' weights."""
    through, value, depth, weights = 1.0, 0.0, 0.0, []
    for i in range(len(distances) - 1):
        alpha = naive_alpha(distances[i], distances[i + 1], s)
        weights.append(through * alpha)
        value += weights[-1] * (values[i] + values[i + 1]) / 2
        depth += weights[-1] * (depths[i] + depths[i + 1]) / 2
        through *= 1 - alpha
    opacity = 1 - through
    return value, opacity, depth / opacity if opacity > MIN_OPACITY else 0.0, weights


def naive_density_ray(
    densities: list[float], values: list[float], depths: list[float], lengths: list[float]
) -> tuple[float, float, float]:
    """Value, opacity and depth by NeRF's quadrature."""
    through, value, depth = 1.0, 0.0, 0.0
    for i in range(len(densities)):
        alpha = 1 - math.exp(-densities[i] * lengths[i])
        value += through * alpha * values[i]
        depth += through * alpha * depths[i]
        through *= 1 - alpha
    opacity = 1 - through
    return value, opacity, depth / opacity if opacity > MIN_OPACITY else 0.0


def naive_importance_sample(
    distances: list[float], depths: list[float], lengths: list[float], s: float, samples: int
) -> list[float]:
    """Further samples: each stratum's middle is looked for in the running sum of what the sections may hold."""
    through, shares = 1.0, []
    for i, length in enumerate(lengths):
        lowest = min((distances[i] + distances[i + 1] - length) / 2, distances[i + 1])
        shares.append(through * naive_alpha(distances[i], lowest, s) + PDF_FLOOR)
        through *= 1 - naive_alpha(distances[i], distances[i + 1], s)
    found = []
    for k in range(samples):
        wanted = (k + 0.5) / samples * sum(shares)
        i = 0
        while i < len(shares) - 1 and wanted >= shares[i]:
            wanted -= shares[i]
            i += 1
        found.append(depths[i] + (depths[i + 1] - depths[i]) * wanted / shares[i])
    return found
