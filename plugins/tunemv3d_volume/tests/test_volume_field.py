import itertools
import math

import pytest
import torch
from pydantic import ValidationError

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.rendering.view_features import sample_view_features
from tunemv3d_core.slots import HasSurface, Scene
from tunemv3d_core.testing import fields
from tunemv3d_core.testing.fields import FEATURES
from tunemv3d_volume.blend import ViewBlend
from tunemv3d_volume.field import VolumeField
from tunemv3d_volume.network import trilinear
from tunemv3d_volume.spec import VolumeSpec

TINY = {"cells": 8, "channels": [8, 16], "eikonal_points": 32}


def small_field(**options: object) -> VolumeField:
    field: VolumeField = fields.small_field("volume", **(TINY | options))
    return field


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


def test_the_volume_is_sampled_as_naively() -> None:
    volume, points = torch.randn(2, 2, 3, 4, 5), torch.randn(2, 9, 3)
    seen = trilinear(volume, points, radius=0.8)
    assert seen.shape == (2, 9, 2)
    for b, p, c in itertools.product(range(2), range(9), range(2)):
        place = [x / 0.8 for x in points[b, p].tolist()]
        assert float(seen[b, p, c]) == pytest.approx(naive_lookup(volume[b, c], place), abs=1e-5)


def test_blending_is_a_softmax_over_the_views_that_see_the_point() -> None:
    features, cameras = fields.small_views(objects=1, views=4)
    blend = ViewBlend(FEATURES, 8)
    points = torch.cat([torch.rand(1, 20, 3) - 0.5, torch.full((1, 1, 3), 50.0)], dim=1)
    unit = torch.nn.functional.normalize(torch.randn(1, 21, 3), dim=-1)
    views = sample_view_features(features, cameras, points)
    plain = blend(views, unit)
    torch.testing.assert_close(plain, views.moments(views.visible)[0], rtol=1e-4, atol=1e-5)
    torch.nn.init.normal_(blend.logit.weight)
    weights = blend.weights(views, unit)
    torch.testing.assert_close(weights.sum(-1), views.visible.amax(-1))
    assert not weights[views.visible == 0].any() and not blend(views, unit)[0, -1].any()
    assert (blend(views, unit) - plain).abs().max() > 1e-2
    assert (weights - blend.weights(views, -unit)).abs().max() > 1e-3, "the ray's direction counts"


@pytest.mark.parametrize("t", [0.0, 999.0])
def test_starts_as_a_sphere_whatever_the_features_and_t(t: float) -> None:
    features, cameras = fields.small_views()
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


def test_skip_connections_at_the_cells_are_those_at_the_points() -> None:
    field = small_field()
    network = field.network
    torch.nn.init.normal_(network.distance_agg.weight)
    torch.nn.init.normal_(network.value_agg.weight)
    aggregated, points = torch.randn(2, 8**3, 2 * FEATURES + 1), torch.rand(2, 30, 3) - 0.5
    volume = network(aggregated, torch.zeros(2))
    at_points = trilinear(torch.unflatten(aggregated.mT, 2, (8, 8, 8)), points, 1.0)
    sdf, values = network.decode(volume, points)
    expected = points.norm(dim=-1) - 0.5 + at_points @ network.distance_agg.weight[0]
    torch.testing.assert_close(sdf, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(values, at_points @ network.value_agg.weight.T, rtol=1e-4, atol=1e-5)


def test_the_views_are_sampled_once_per_cell_and_once_per_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    from tunemv3d_volume import field as module

    points_of: dict[str, list[int]] = {"aggregated": [], "blended": []}
    field = small_field()
    aggregate = field.aggregator.forward

    def aggregated(features: torch.Tensor, cameras: Cameras, points: torch.Tensor) -> torch.Tensor:
        points_of["aggregated"].append(points.shape[1])
        return aggregate(features, cameras, points)

    def blended(features: torch.Tensor, cameras: Cameras, points: torch.Tensor) -> object:
        points_of["blended"].append(points.shape[1])
        return sample_view_features(features, cameras, points)

    monkeypatch.setattr(field.aggregator, "forward", aggregated)
    monkeypatch.setattr(module, "sample_view_features", blended)
    features, cameras = fields.small_views()
    field.fuse(features, cameras, torch.zeros(2)).render(cameras, (8, 8))
    assert points_of == {"aggregated": [8**3], "blended": [3 * 64]}


def test_it_takes_any_aggregator() -> None:
    field = small_field(aggregator={"type": "visibility", "hidden": 5})
    assert field.network.distance_agg.in_features == field.aggregator.channels
    assert any(name.startswith("aggregator.") for name, _ in field.named_parameters())
    assert VolumeSpec(type="volume") == VolumeSpec.model_validate(
        {"type": "volume", "aggregator": {"type": "mean-variance"}}
    )


def test_pixels_are_the_maps_cells_and_chunks_change_nothing() -> None:
    fields.assert_chunks_agree(small_field(fine_samples=8), small_field(fine_samples=8, chunk_size=100), 1e-3, 1e-4)


def test_the_noise_level_matters() -> None:
    fields.assert_noise_level_matters(small_field())


def test_autocast_keeps_the_surface_in_float32() -> None:
    fields.assert_float32_under_autocast(small_field())


@pytest.mark.slow
def test_a_training_step_is_static() -> None:
    fields.assert_static_training_step(small_field(samples=6, fine_samples=5))


def test_what_makes_no_sense_is_refused() -> None:
    for options, expected in (
        ({"gives": "features"}, "'values'"),
        ({"channels": [8, 12]}, "multiple of 8"),
        ({"cells": 10}, "cells = 10 is no multiple of 4"),
    ):
        with pytest.raises(ValidationError, match=expected):
            VolumeSpec.model_validate({"type": "volume"} | options)
