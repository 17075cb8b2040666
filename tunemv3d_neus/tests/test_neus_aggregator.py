import torch
from torch.nn.functional import grid_sample

from tunemv3d_core.cameras import Cameras
from tunemv3d_neus.aggregator import MeanVariance, mean_variance


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


def test_order_of_views_does_not_matter() -> None:
    features, cameras, points = scattered(torch.float32)
    order = torch.tensor([2, 0, 3, 1])
    merge = MeanVariance(3)
    one = merge(features, cameras, points)
    torch.testing.assert_close(merge(features[:, order], cameras[:, order], points), one)
    assert one.shape[-1] == merge.channels == 7


def test_variance_survives_large_means() -> None:
    features, cameras, points = scattered(torch.float32)
    shifted = mean_variance(features + 1000, cameras, points * 0.05)
    exact = mean_variance(features.double() + 1000, cameras.to(torch.float64), points.double() * 0.05)
    torch.testing.assert_close(shifted[..., 3:6].double(), exact[..., 3:6], atol=2e-3, rtol=1e-3)
