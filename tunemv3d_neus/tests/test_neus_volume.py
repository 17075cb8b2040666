import math

import numpy as np
import pytest
import torch

from tunemv3d_neus.encoding import encode_points
from tunemv3d_neus.volume import NOTHING, composite, section_ends


def test_point_encoding_is_eq_1() -> None:
    points = torch.rand(5, 3, dtype=torch.float64) * 2 - 1
    encoded = encode_points(points, 6, 1.5)
    terms = [f(2.0**k * 1.5 * points.numpy()) for k in range(6) for f in (np.sin, np.cos)]
    np.testing.assert_allclose(encoded.numpy(), np.concatenate(terms, axis=-1), rtol=1e-12, atol=1e-12)


def naive_ray(
    distances: list[float], values: list[float], depths: list[float], s: float
) -> tuple[float, float, float, list[float]]:
    """NeuS's sections one after the other, in float64: value, opacity, depth, weights."""

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x)) if x > -700 else math.exp(max(x, -745))

    through, value, depth, weights = 1.0, 0.0, 0.0, []
    for i in range(len(distances) - 1):
        before, after = sigmoid(s * distances[i]), sigmoid(s * distances[i + 1])
        # Deep inside both vanish; their quotient then is exp(s (after - before)).
        deep = s * max(distances[i], distances[i + 1]) < -600
        fall = max(min(s * (distances[i + 1] - distances[i]), 0), -745)
        ratio = math.exp(fall) if deep else after / max(before, 1e-300)
        alpha = max(0.0, 1 - ratio)
        weights.append(through * alpha)
        value += weights[-1] * (values[i] + values[i + 1]) / 2
        depth += weights[-1] * (depths[i] + depths[i + 1]) / 2
        through *= 1 - alpha
    opacity = 1 - through
    return value, opacity, depth / opacity if opacity > NOTHING else 0.0, weights


@pytest.mark.parametrize("sharpness", [1.0, 20.0, 300.0, 1e4])
def test_compositing_is_the_naive_sum(sharpness: float) -> None:
    torch.manual_seed(0)
    depths = torch.rand(12, 10).sort(dim=-1).values + 2
    through_a_ball = (depths - 2.5).abs() - torch.rand(12, 1) * 0.6
    inside, outside = -torch.rand(4, 10) - 0.1, torch.rand(4, 10) + 5
    distances = torch.cat([through_a_ball[:4], inside, outside])
    values = torch.randn(12, 10, 1)
    got = composite(distances, values, depths, torch.tensor(sharpness))
    assert got.values.isfinite().all() and (got.opacity >= 0).all() and (got.opacity <= 1).all()
    for r in range(12):
        value, opacity, depth, weights = naive_ray(
            distances[r].tolist(), values[r, :, 0].tolist(), depths[r].tolist(), sharpness
        )
        assert sum(weights) <= 1 + 1e-9
        assert float(got.values[r, 0]) == pytest.approx(value, abs=3e-3 if sharpness > 1e3 else 1e-5)
        assert float(got.opacity[r]) == pytest.approx(opacity, abs=1e-3 if sharpness > 1e3 else 1e-5)
        assert float(got.depth[r]) == pytest.approx(depth, abs=3e-3)


@pytest.mark.parametrize("sharpness", [1.0, 1e4])
def test_compositing_has_finite_gradients(sharpness: float) -> None:
    depths = torch.linspace(2, 4, 16).expand(3, 16)
    distances = torch.stack([torch.linspace(1, -1, 16), torch.full((16,), -0.7), torch.full((16,), 0.9)])
    distances.requires_grad_()
    s = torch.tensor(sharpness, requires_grad=True)
    seen = composite(distances, torch.ones(3, 16, 1), depths, s)
    (seen.values.sum() + seen.opacity.sum() + seen.depth.sum()).backward()
    assert distances.grad is not None and distances.grad.isfinite().all()
    assert s.grad is not None and s.grad.isfinite()
    torch.testing.assert_close(seen.values[..., 0], seen.opacity)


def test_sections_stay_sorted_within_their_bounds() -> None:
    near, far = torch.full((50,), 1.5), torch.full((50,), 3.0)
    even = section_ends(near, far, 9, jitter=False)
    torch.testing.assert_close(even[0], torch.linspace(1.5, 3.0, 9))
    moved = section_ends(near, far, 9, jitter=True)
    assert (moved.diff(dim=-1) >= 0).all() and moved.min() >= 1.5 and moved.max() <= 3.0
    assert (moved - even).abs().max() <= 1.5 / 8 / 2 + 1e-6
    assert moved[0].ne(moved[1]).any()
