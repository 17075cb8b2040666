import itertools
import math

import pytest
import torch
from pydantic import ValidationError
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from volume_fixtures import FEATURES, randomize_zero_init, small_field, small_views

from tunemv3d_core.assemble import build_component
from tunemv3d_core.cameras import Cameras, pixel_centres
from tunemv3d_core.errors import PortsError
from tunemv3d_core.ports import BackbonePorts, BuildContext, Neighbours, ViewEncoderPorts
from tunemv3d_core.rendering.rays import culling
from tunemv3d_core.slots import HasSurface, Scene
from tunemv3d_volume.network import trilinear
from tunemv3d_volume.spec import VolumeSpec
from tunemv3d_volume.views import Blend, sample_view_features


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def naive_lookup(volume: torch.Tensor, point: list[float]) -> float:
    """Trilinear interpolation between cell centres of ``x y z`` that span [-1, 1]; its border goes on outside."""
    corners = []
    for place, size in zip(point, volume.shape, strict=True):
        cell = min(max((place + 1) / 2 * size - 0.5, 0.0), size - 1.0)
        low = min(math.floor(cell), size - 2)
        corners.append(((low, 1 - (cell - low)), (low + 1, cell - low)))
    return sum(
        math.prod(weight for _, weight in corner) * float(volume[tuple(index for index, _ in corner)])
        for corner in itertools.product(*corners)
    )


def test_the_volume_is_read_off_as_naively() -> None:
    volume, points = torch.randn(2, 2, 3, 4, 5), torch.randn(2, 9, 3)
    seen = trilinear(volume, points, radius=0.8)
    assert seen.shape == (2, 9, 2)
    for b, p, c in itertools.product(range(2), range(9), range(2)):
        place = [x / 0.8 for x in points[b, p].tolist()]
        assert float(seen[b, p, c]) == pytest.approx(naive_lookup(volume[b, c], place), abs=1e-5)


def test_views_are_summed_up_as_naively() -> None:
    """At points that project onto cell centres, and at points that not all views see."""
    features = torch.randn(1, 3, 2, 4, 4)
    cameras = Cameras.orbit(3)[None]
    rays = cameras.rays((4, 4))
    points = torch.stack([rays.origins[0, k, 5] + 2.0 * rays.directions[0, k, 5] for k in range(3)])[None]
    shown = sample_view_features(features, cameras, points)
    for k in range(3):
        torch.testing.assert_close(shown.features[0, k, k], features[0, k, :, 1, 1], rtol=1e-4, atol=1e-5)
    shown, counts = sample_view_features(features, cameras, torch.rand(1, 60, 3) * 4 - 2), set()
    for p in range(60):
        seeing = [v for v in range(3) if shown.seen[0, p, v]]
        counts.add(len(seeing))
        told = [shown.features[0, p, v].double() for v in seeing]
        mean = sum(told, torch.zeros(2).double()) / max(len(told), 1)
        variance = sum(((z - mean) ** 2 for z in told), torch.zeros(2).double()) / max(len(told), 1)
        expected = torch.cat([mean, variance, torch.tensor([len(seeing) / 3]).double()])
        torch.testing.assert_close(shown.summary()[0, p].double(), expected, rtol=1e-4, atol=1e-5)
    assert counts == {0, 1, 2, 3}
    point = cameras.origins[:, :1] - 0.5 * cameras.camera_to_world[:, :1, :3, 2]
    behind = sample_view_features(features, cameras, point)
    assert not behind.seen[0, 0, 0] and not behind.features[0, 0, 0].any(), "a point behind its camera"


def test_blending_is_a_softmax_over_the_views_that_see_the_point() -> None:
    features, cameras = small_views(objects=1, views=4)
    blend = Blend(FEATURES, 8)
    points = torch.cat([torch.rand(1, 20, 3) - 0.5, torch.full((1, 1, 3), 50.0)], dim=1)
    unit = torch.nn.functional.normalize(torch.randn(1, 21, 3), dim=-1)
    shown = sample_view_features(features, cameras, points)
    plain = blend(shown, unit)
    torch.testing.assert_close(plain, shown.moments()[0], rtol=1e-4, atol=1e-5)
    torch.nn.init.normal_(blend.logit.weight)
    weights = blend.weights(shown, unit)
    sums, seen = weights.sum(-1), shown.seen.amax(-1)
    torch.testing.assert_close(sums, seen)
    assert not weights[shown.seen == 0].any() and not blend(shown, unit)[0, -1].any()
    assert (blend(shown, unit) - plain).abs().max() > 1e-2
    assert (weights - blend.weights(shown, -unit)).abs().max() > 1e-3, "the ray's direction counts"


@pytest.mark.parametrize("t", [0.0, 999.0])
def test_starts_as_a_sphere_whatever_the_features_and_t(t: float) -> None:
    features, cameras = small_views()
    scene = small_field().fuse(features * 100, cameras, torch.full((2,), t))
    assert isinstance(scene, Scene) and isinstance(scene, HasSurface)
    points = torch.randn(2, 300, 3)
    torch.testing.assert_close(scene.signed_distance(points), points.norm(dim=-1) - 0.5, rtol=0, atol=0)
    assert not scene.render(cameras, (4, 4)).values.any(), "values start white"


def test_what_a_view_shows_of_the_surface_is_what_is_rendered() -> None:
    """A first sphere, sharp, and views of one colour each: blended by equal weights it shows their mean."""
    field = small_field(variance=0.6, samples=128)
    with torch.no_grad():
        field.value_blended.weight.copy_(torch.eye(4, FEATURES))
    colours = torch.randn(1, 3, FEATURES, 1, 1).expand(1, 3, FEATURES, 8, 8)
    cameras = Cameras.orbit(3)[None]
    seen = field.fuse(colours, cameras, torch.zeros(1)).render(cameras, (9, 9))
    assert seen.opacity[0, 0, 4, 4] > 0.99
    expected = colours.mean(1)[0, :4, 0, 0]
    for view in range(3):
        torch.testing.assert_close(seen.values[0, view, :, 4, 4], expected, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(seen.values[0, 0, :, 4, 4] / seen.opacity[0, 0, 4, 4], expected, rtol=1e-3, atol=1e-4)


def test_straight_roads_at_the_cells_are_those_at_the_points() -> None:
    field = small_field()
    network = field.network
    torch.nn.init.normal_(network.distance_agg.weight)
    torch.nn.init.normal_(network.value_agg.weight)
    summary, points = torch.randn(2, 8**3, 2 * FEATURES + 1), torch.rand(2, 30, 3) - 0.5
    volume = network.make(summary, torch.zeros(2))
    at_points = trilinear(torch.unflatten(summary.mT, 2, (8, 8, 8)), points, 1.0)
    distances, values = network.read_off(volume, points)
    expected = points.norm(dim=-1) - 0.5 + at_points @ network.distance_agg.weight[0]
    torch.testing.assert_close(distances, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(values, at_points @ network.value_agg.weight.T, rtol=1e-4, atol=1e-5)


def test_the_views_are_looked_at_once_a_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    from tunemv3d_volume import field as module

    looked: list[int] = []

    def counted(features: torch.Tensor, cameras: Cameras, points: torch.Tensor) -> object:
        looked.append(points.shape[1])
        return sample_view_features(features, cameras, points)

    monkeypatch.setattr(module, "sample_view_features", counted)
    field = small_field()
    features, cameras = small_views()
    scene = field.fuse(features, cameras, torch.zeros(2))
    scene.render(cameras, (8, 8))
    assert looked == [8**3, 3 * 64]


def test_pixels_are_the_maps_cells_and_chunks_change_nothing() -> None:
    features, cameras = small_views()
    whole, pieces = small_field(fine_samples=8), small_field(fine_samples=8, chunk_size=100)
    randomize_zero_init(whole)
    pieces.load_state_dict(whole.state_dict())
    t = torch.tensor([10.0, 800.0])
    maps = whole.fuse(features, cameras, t).render(cameras, (6, 5), normals=True)
    centres = pixel_centres((6, 5)).expand(2, 3, 30, 2)
    some = pieces.fuse(features, cameras, t).render(cameras, (6, 5), centres, normals=True)
    for name in ("values", "opacity", "depth", "normals"):
        torch.testing.assert_close(getattr(some, name), getattr(maps, name).flatten(-2), rtol=1e-3, atol=1e-4)


def test_t_matters() -> None:
    field = small_field()
    randomize_zero_init(field)
    features, cameras = small_views()
    low, high = (field.fuse(features, cameras, torch.full((2,), t)).render(cameras, (8, 8)) for t in (50.0, 900.0))
    assert (low.values - high.values).abs().max() > 1e-4 and (low.opacity - high.opacity).abs().max() > 1e-4


def test_training_reaches_every_parameter() -> None:
    field = small_field().train()
    features, cameras = small_views()
    optimizer = torch.optim.AdamW(field.parameters(), lr=1e-3)
    target = torch.randn(2, 3, 4, 8, 8)
    for _ in range(4):
        optimizer.zero_grad()
        scene = field.fuse(features, cameras, torch.tensor([50.0, 900.0]))
        rendering = scene.render(cameras, (8, 8))
        loss = (rendering.values - target).abs().mean() + rendering.opacity.mean() + sum(scene.losses().values())
        loss.backward()
        optimizer.step()
    for name, parameter in field.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_autocast_keeps_the_surface_in_float32() -> None:
    features, cameras = small_views()
    field, points = small_field(), torch.randn(2, 50, 3)
    with torch.autocast("cpu", torch.bfloat16):
        scene = field.fuse(features.bfloat16(), cameras, torch.zeros(2))
        rendering, distances = scene.render(cameras, (8, 8)), scene.signed_distance(points)
    assert rendering.values.dtype == rendering.opacity.dtype == rendering.depth.dtype == torch.float32
    torch.testing.assert_close(distances, points.norm(dim=-1) - 0.5, rtol=0, atol=0)


def train_on_fakes() -> None:
    with FakeTensorMode():
        field = small_field(samples=6, fine_samples=5).train()
        cameras = Cameras(torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4))
        scene = field.fuse(torch.randn(2, 3, FEATURES, 8, 8), cameras, torch.zeros(2))
        whole, some = scene.render(cameras, (8, 8)), scene.render(cameras, (8, 8), torch.rand(2, 3, 7, 2))
        assert some.values.shape == (2, 3, 4, 7)
        (whole.values.mean() + some.depth.mean() + sum(scene.losses().values())).backward()


def test_a_training_step_on_an_accelerator_is_static() -> None:
    """Nothing depends on numbers, so that the step can be captured as a CUDA graph: fake tensors hold none."""
    with pytest.raises(DataDependentOutputException):
        train_on_fakes()  # a CPU leaves out the rays that miss
    with culling(False):
        train_on_fakes()


def test_what_makes_no_sense_is_refused() -> None:
    for options, told in (
        ({"gives": "features"}, "'values'"),
        ({"channels": [8, 12]}, "multiple of 8"),
        ({"cells": 10}, "cells = 10 is no multiple of 4"),
    ):
        with pytest.raises(ValidationError, match=told):
            VolumeSpec.model_validate({"type": "volume"} | options)
    spec, context = VolumeSpec(type="volume"), BuildContext(torch.device("cpu"))
    backbone = BackbonePorts(4, 32, 4, 12, (), "epsilon", 1000)
    with pytest.raises(PortsError, match="no view_encoder"):
        build_component("field", spec, Neighbours(backbone), context)
    ports = build_component("field", spec, Neighbours(backbone, ViewEncoderPorts(5)), context).ports
    assert (ports.features, ports.gives, ports.values) == (5, "latents", 4)
