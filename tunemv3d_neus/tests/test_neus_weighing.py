"""The aggregators that weigh views, against float64 loops over points and views."""

import math

import pytest
import torch
from neus_fixtures import small_field
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.rendering.view_features import mean_variance
from tunemv3d_core.testing.fields import randomize_zero_init, small_views
from tunemv3d_neus.attention import Attention
from tunemv3d_neus.spec import AttentionSpec, VisibilitySpec
from tunemv3d_neus.visibility import Visibility

F = 3
KINDS = ["visibility", "attention"]


def aggregator(kind: str, features: int = F) -> nn.Module:
    torch.manual_seed(3)
    if kind == "visibility":
        return Visibility(VisibilitySpec(type=kind, hidden=5), features)
    return Attention(AttentionSpec(type=kind, heads=2, head_channels=4), features)


def awake(kind: str) -> nn.Module:
    merge = aggregator(kind).double()
    for parameter in merge.parameters():
        nn.init.normal_(parameter)
    return merge


def scattered() -> tuple[Tensor, Cameras, Tensor]:
    """Points that none, some and all of four views see; some lie behind cameras or within them."""
    torch.manual_seed(1)
    eyes = torch.nn.functional.normalize(torch.randn(2, 4, 3).double(), dim=-1) * 1.5
    points = torch.rand(2, 40, 3).double() * 5 - 2.5
    points[:, ::2] *= 0.2
    points[:, 1] = eyes[:, 0]
    return torch.randn(2, 4, F, 5, 7).double(), Cameras.look_at(eyes, focal=1.4), points


def views_of(features: Tensor, cameras: Cameras, point: Tensor, i: int) -> list[tuple[Tensor, Tensor]]:
    """Feature and direction of every view of object i that sees a point."""
    found = []
    for j in range(features.shape[1]):
        x, y, z, _ = torch.linalg.inv(cameras.camera_to_world[i, j]) @ torch.cat([point, torch.ones(1).double()])
        fx, fy, cx, cy = cameras.intrinsics[i, j]
        u, v = x / z * fx + cx, y / z * fy + cy
        if z > 1e-4 and 0 <= u <= 1 and 0 <= v <= 1:
            grid = (torch.stack([u, v]) * 2 - 1).reshape(1, 1, 1, 2)
            way = point - cameras.camera_to_world[i, j, :3, 3]
            found.append((grid_sample(features[i, j][None], grid, align_corners=False).flatten(), way / way.norm()))
    return found


def naive_visibility(merge: Visibility, seen: list[tuple[Tensor, Tensor]], views: int) -> Tensor:
    stacked = torch.stack([feature for feature, _ in seen])
    shared = merge.all.weight @ torch.cat([stacked.mean(0), stacked.var(0, unbiased=False)])
    weights = []
    for feature, direction in seen:
        hidden = (merge.each.weight @ torch.cat([feature, direction]) + merge.each.bias + shared).clamp(min=0)
        weights.append(2 / (1 + math.exp(-float(merge.weight.weight[0] @ hidden + merge.weight.bias))))
    mean = sum(w * f for w, f in zip(weights, stacked, strict=True)) / sum(weights)
    variance = sum(w * (f - mean) ** 2 for w, f in zip(weights, stacked, strict=True)) / sum(weights)
    return torch.cat([mean, variance, torch.tensor([sum(weights) / views]).double()])


def naive_attention(merge: Attention, seen: list[tuple[Tensor, Tensor]], views: int) -> Tensor:
    stacked = torch.stack([feature for feature, _ in seen])
    mean, variance = stacked.mean(0), stacked.var(0, unbiased=False)
    query = merge.query.weight @ torch.cat([mean, variance]) + merge.query.bias
    told = [torch.cat(view) for view in seen]
    answers = []
    for head in range(2):
        part = slice(4 * head, 4 * head + 4)
        scores = [math.exp(float(query[part] @ (merge.key.weight @ x)[part]) / 2) for x in told]
        values = [(merge.value.weight @ x + merge.value.bias)[part] for x in told]
        answers.append(sum(s * v for s, v in zip(scores, values, strict=True)) / sum(scores))
    share = torch.tensor([len(seen) / views]).double()
    return torch.cat([mean + merge.fc_out.weight @ torch.cat(answers), variance, share])


@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_a_loop_over_points_and_views(kind: str) -> None:
    merge = awake(kind)
    features, cameras, points = scattered()
    with torch.no_grad():
        merged = merge(features, cameras, points)
        assert merged.shape[-1] == merge.channels
        counts = set()
        for i in range(2):
            for k, point in enumerate(points[i]):
                seen = views_of(features, cameras, point, i)
                counts.add(len(seen))
                naive = naive_visibility if kind == "visibility" else naive_attention
                expected = naive(merge, seen, 4) if seen else torch.zeros(merge.channels).double()
                torch.testing.assert_close(merged[i, k], expected)
    assert {0, 1, 4} <= counts, "points must be seen by none, one and all views"


@pytest.mark.parametrize("kind", KINDS)
def test_starts_as_mean_and_variance(kind: str) -> None:
    features, cameras, points = scattered()
    torch.testing.assert_close(
        aggregator(kind).double()(features, cameras, points), mean_variance(features, cameras, points)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_order_of_views_does_not_matter(kind: str) -> None:
    features, cameras, points = scattered()
    merge, order = awake(kind), torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(merge(features[:, order], cameras[:, order], points), merge(features, cameras, points))


@pytest.mark.parametrize("kind", KINDS)
def test_a_view_that_does_not_see_a_point_says_nothing(kind: str) -> None:
    """A camera that looks away adds nothing but its place in the share, whatever its picture holds."""
    features, cameras, points = scattered()
    merge = awake(kind)
    away = cameras.camera_to_world.clone()
    away[:, 3, :3, :3] = -away[:, 3, :3, :3]
    points = points * 0.05
    blind = Cameras(away, cameras.intrinsics)
    other = features.clone()
    other[:, 3] = 1e3
    one = merge(features, blind, points)
    assert torch.equal(merge(other, blind, points), one)
    alone = merge(features[:, :3], cameras[:, :3], points)
    torch.testing.assert_close(one[..., :-1], alone[..., :-1])
    torch.testing.assert_close(one[..., -1], alone[..., -1] * 3 / 4)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_exact_whoever_sees_a_point(kind: str) -> None:
    features, cameras, points = scattered()
    features = features[:1, :, :, :3, :3].requires_grad_()
    merge = awake(kind)
    assert torch.autograd.gradcheck(lambda z: merge(z, cameras[:1], points[:1, :12]), features)
    for name, parameter in merge.named_parameters():

        def given(z: Tensor, name: str = name) -> Tensor:
            return torch.func.functional_call(merge, {name: z}, (features.detach(), cameras[:1], points[:1, :12]))

        assert torch.autograd.gradcheck(given, parameter), name


@pytest.mark.parametrize("kind", KINDS)
def test_autocast_keeps_geometry_and_result_in_float32(kind: str) -> None:
    features, cameras, points = scattered()
    features, cameras, points = features.float(), cameras.to(torch.float32), points.float()
    merge = awake(kind).float()
    exact = merge(features, cameras, points)
    with torch.autocast("cpu", torch.bfloat16):
        merged = merge(features, cameras, points)
    assert merged.dtype == torch.float32
    assert torch.equal(merged.abs().sum(-1) == 0, exact.abs().sum(-1) == 0), "which points are seen"
    assert (merged - exact).abs().max() < 0.1 * exact.abs().max()
    merged.sum().backward()
    for name, parameter in merge.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("kind", KINDS)
def test_the_field_trains_with_it(kind: str) -> None:
    field = small_field(aggregator={"type": kind}).train()
    randomize_zero_init(field)
    features, cameras = small_views(objects=1, views=2)
    scene = field.fuse(features, cameras, torch.zeros(1))
    seen = scene.render(cameras, (4, 4))
    (seen.values.square().mean() + seen.opacity.mean() + scene.losses()["eikonal"]).backward()
    for name, parameter in field.aggregator.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name
