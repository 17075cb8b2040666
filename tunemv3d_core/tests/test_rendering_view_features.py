import itertools
import math

import pytest
import torch
from torch.nn.functional import grid_sample

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.rendering.view_features import mean_variance, sample_view_features


def looped(features: torch.Tensor, cameras: Cameras, points: torch.Tensor) -> torch.Tensor:
    """One object, one point, one view at a time."""
    b, n, f = features.shape[:3]
    result = torch.zeros(b, points.shape[1], 2 * f + 1, dtype=features.dtype)
    for i in range(b):
        for k, point in enumerate(points[i]):
            seen = []
            for j in range(n):
                camera = torch.linalg.inv(cameras.camera_to_world[i, j])
                x, y, z, _ = camera @ torch.cat([point, torch.ones(1, dtype=point.dtype)])
                fx, fy, cx, cy = cameras.intrinsics[i, j]
                u, v = x / z * fx + cx, y / z * fy + cy
                if z > 1e-4 and 0 <= u <= 1 and 0 <= v <= 1:
                    grid = (torch.stack([u, v]) * 2 - 1).reshape(1, 1, 1, 2)
                    seen.append(grid_sample(features[i, j][None], grid, align_corners=False).flatten())
            if seen:
                stacked = torch.stack(seen)
                variance = stacked.var(0, unbiased=False)
                result[i, k] = torch.cat([stacked.mean(0), variance, torch.tensor([len(seen) / n])])
    return result


def scattered(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, Cameras, torch.Tensor]:
    torch.manual_seed(1)
    eyes = torch.nn.functional.normalize(torch.randn(2, 4, 3).double(), dim=-1) * 1.5
    points = torch.rand(2, 40, 3) * 5 - 2.5
    points[:, ::2] *= 0.2
    return torch.randn(2, 4, 3, 5, 7).to(dtype), Cameras.look_at(eyes, focal=1.4).to(dtype), points.to(dtype)


def test_agrees_with_a_loop_over_points_and_views() -> None:
    features, cameras, points = scattered()
    merged = mean_variance(features, cameras, points)
    shares = {round(float(share) * 4) for share in merged[..., -1].flatten()}
    assert {0, 1, 4} <= shares, "the points must be seen by none, one and all views"
    torch.testing.assert_close(merged, looped(features, cameras, points))


def test_gradients_are_exact_whoever_sees_a_point() -> None:
    features, cameras, points = scattered()
    features = features[:1, :, :1].requires_grad_()
    assert torch.autograd.gradcheck(lambda z: mean_variance(z, cameras[:1], points[:1, :12]), features)


def test_variance_survives_large_means() -> None:
    features, cameras, points = scattered(torch.float32)
    shifted = mean_variance(features + 1000, cameras, points * 0.05)
    exact = mean_variance(features.double() + 1000, cameras.to(torch.float64), points.double() * 0.05)
    torch.testing.assert_close(shifted[..., 3:6].double(), exact[..., 3:6], atol=2e-3, rtol=1e-3)


def naive_view(features: torch.Tensor, cameras: Cameras, point: torch.Tensor) -> tuple[list[float], list[float]] | None:
    """Feature and unit direction of one point in one view, by float64 arithmetic; None where it is not visible."""
    in_camera = torch.linalg.inv(cameras.camera_to_world) @ torch.cat([point, torch.ones(1, dtype=point.dtype)])
    x, y, z = in_camera[:3].tolist()
    fx, fy, cx, cy = cameras.intrinsics.tolist()
    u, v = x / z * fx + cx, y / z * fy + cy
    if z <= 1e-4 or not (0 <= u <= 1 and 0 <= v <= 1):
        return None
    _, h, w = features.shape
    column, row = u * w - 0.5, v * h - 0.5
    feature = [0.0] * features.shape[0]
    for i in range(h):
        for j in range(w):
            weight = max(0.0, 1 - abs(i - row)) * max(0.0, 1 - abs(j - column))
            feature = [f + weight * float(c) for f, c in zip(feature, features[:, i, j], strict=True)]
    offset = (point - cameras.camera_to_world[:3, 3]).tolist()
    return feature, [o / math.hypot(*offset) for o in offset]


def test_views_are_sampled_as_by_arithmetic_on_cells() -> None:
    features, cameras, points = scattered()
    views = sample_view_features(features, cameras, points)
    visible = set()
    for i, k, j in itertools.product(range(2), range(40), range(4)):
        expected = naive_view(features[i, j], cameras[i, j], points[i, k])
        visible.add(expected is not None)
        assert bool(views.visible[i, k, j]) == (expected is not None)
        feature, direction = expected or ([0.0] * 3, [0.0] * 3)
        assert views.features[i, k, j].tolist() == pytest.approx(feature, abs=1e-9)
        assert views.directions[i, k, j].tolist() == pytest.approx(direction, abs=1e-9)
    assert visible == {True, False}


def test_moments_by_visibility_are_the_summary() -> None:
    features, cameras, points = scattered()
    views = sample_view_features(features, cameras, points)
    summary = torch.cat([*views.moments(views.visible), views.visible.mean(-1, keepdim=True)], dim=-1)
    torch.testing.assert_close(summary, mean_variance(features, cameras, points))


def test_depth_gets_a_gradient_through_the_points_and_autocast_changes_nothing() -> None:
    features, cameras, points = scattered(torch.float32)
    points.requires_grad_()
    plain = sample_view_features(features, cameras, points)
    plain.features.square().sum().backward()
    assert points.grad is not None and points.grad.any()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = sample_view_features(features, cameras, points)
    assert torch.equal(mixed.features, plain.features) and torch.equal(mixed.directions, plain.directions)
