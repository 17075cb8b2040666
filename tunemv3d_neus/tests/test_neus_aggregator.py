import torch

from tunemv3d_core.rendering.view_features import mean_variance
from tunemv3d_core.testing.fields import FEATURES, small_views
from tunemv3d_neus.aggregator import MeanVariance


def test_it_is_mean_and_variance_in_float32_with_no_gradient_for_points() -> None:
    torch.manual_seed(0)
    features, cameras = small_views()
    points = torch.randn(2, 30, 3, requires_grad=True)
    aggregator = MeanVariance(FEATURES)
    aggregated = aggregator(features.requires_grad_(), cameras, points)
    assert torch.equal(aggregated, mean_variance(features, cameras, points))
    assert aggregated.shape[-1] == aggregator.channels == 2 * FEATURES + 1
    aggregated.sum().backward()
    assert points.grad is None and features.grad is not None and features.grad.any()
    with torch.autocast("cpu", torch.bfloat16):
        rough = aggregator(features.bfloat16(), cameras, points)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, mean_variance(features.bfloat16().float(), cameras, points), rtol=0, atol=0)
