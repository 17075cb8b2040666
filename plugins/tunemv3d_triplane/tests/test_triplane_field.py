import math

import pytest
import torch
from pydantic import ValidationError

from tunemv3d_core.rendering.points import cell_centres
from tunemv3d_core.slots import HasSurface, Scene
from tunemv3d_core.testing import fields
from tunemv3d_triplane.field import TriplaneField
from tunemv3d_triplane.planes import AXES, PlaneNetwork, cross_plane_means, sample_planes
from tunemv3d_triplane.spec import TriplaneSpec

TINY = {"aggregator": {"type": "mean-variance"}, "hidden": 16, "cells": 8, "channels": 8, "eikonal_points": 32}


def small_field(**options: object) -> TriplaneField:
    field: TriplaneField = fields.small_field("triplane", **(TINY | options))
    return field


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def naive_lookup(plane: list[list[float]], row: float, column: float) -> float:
    """Bilinear interpolation between cell centres of a square plane that spans [-1, 1]; its border goes on outside."""
    g = len(plane)
    places = []
    for place in (row, column):
        cell = min(max((place + 1) / 2 * g - 0.5, 0.0), g - 1.0)
        low = min(math.floor(cell), g - 2)
        places.append((low, cell - low))
    (r, down), (c, right) = places
    above = plane[r][c] * (1 - right) + plane[r][c + 1] * right
    below = plane[r + 1][c] * (1 - right) + plane[r + 1][c + 1] * right
    return above * (1 - down) + below * down


def test_planes_are_sampled_as_naively() -> None:
    planes, points = torch.randn(2, 3, 2, 5, 5), torch.randn(2, 9, 3)
    seen = sample_planes(planes, points, radius=0.8)
    assert seen.shape == (2, 9, 6)
    for b in range(2):
        for p in range(9):
            place = [x / 0.8 for x in points[b, p].tolist()]
            expected = [
                naive_lookup(planes[b, k, c].tolist(), place[row], place[column])
                for k, (row, column) in enumerate(AXES)
                for c in range(2)
            ]
            assert seen[b, p].tolist() == pytest.approx(expected, abs=1e-5)


def test_each_plane_knows_its_two_axes_and_nothing_of_the_third() -> None:
    """Grid points that carry their own coordinates; each plane's layer copies those of the first point it folds."""
    network = PlaneNetwork(3, cells=4, folded=3, channels=8, blocks=1)
    with torch.no_grad():
        network.fc_in.weight.copy_(torch.eye(3))
        network.fc_in.bias.zero_()
        for fold in network.fold:
            fold.weight.zero_()
            fold.bias.zero_()
            fold.weight[:3, :3] = torch.eye(3)
    grid = cell_centres(4, 0.5, torch.device("cpu"))
    planes = network(grid[None], torch.zeros(1))
    centres = torch.tensor([-0.375, -0.125, 0.125, 0.375])
    for k, (row, column) in enumerate(AXES):
        missing = ({0, 1, 2} - {row, column}).pop()
        folded = planes[0, k, :3]
        torch.testing.assert_close(folded[row], centres[:, None].expand(4, 4), rtol=0, atol=1e-5)
        torch.testing.assert_close(folded[column], centres[None].expand(4, 4), rtol=0, atol=1e-5)
        torch.testing.assert_close(folded[missing], torch.full((4, 4), -0.375), rtol=0, atol=1e-5)
    # And points of space sample their own coordinates from them again.
    points = torch.rand(1, 20, 3) * 0.7 - 0.35
    seen = torch.unflatten(sample_planes(planes, points, 0.5), -1, (3, 8))
    for k, axes in enumerate(AXES):
        for axis in axes:
            torch.testing.assert_close(seen[..., k, axis], points[..., axis], rtol=0, atol=1e-5)


def test_planes_get_the_means_of_the_lines_of_the_others_that_cross_them() -> None:
    planes = torch.randn(1, 3, 1, 4, 4)
    means, by_axes = cross_plane_means(planes)[0], {axes: planes[0, k, 0] for k, axes in enumerate(AXES)}
    for k, axes in enumerate(AXES):
        for channel, axis in enumerate(axes):
            ((other, plane),) = [(a, p) for a, p in by_axes.items() if a != axes and axis in a]
            for i in range(4):
                line = plane[i] if other.index(axis) == 0 else plane[:, i]
                shown = means[k, channel, i] if channel == 0 else means[k, channel, :, i]
                assert shown.tolist() == pytest.approx([sum(line.tolist()) / 4] * 4, abs=1e-6)


@pytest.mark.parametrize("t", [0.0, 999.0])
def test_starts_as_a_sphere_whatever_the_features_and_t(t: float) -> None:
    features, cameras = fields.small_views()
    scene = small_field().fuse(features * 100, cameras, torch.full((2,), t))
    assert isinstance(scene, Scene) and isinstance(scene, HasSurface)
    points = torch.randn(2, 300, 3)
    torch.testing.assert_close(scene.signed_distance(points), points.norm(dim=-1) - 0.5, rtol=0, atol=0)
    assert not scene.render(cameras, (4, 4)).values.any(), "values start white"


def test_the_views_are_aggregated_once_and_rendering_samples_planes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    field = small_field()
    fields.randomize_zero_init(field)
    features, cameras = fields.small_views()
    scene = field.fuse(features, cameras, torch.zeros(2))
    monkeypatch.setattr(field.aggregator, "forward", None)
    assert scene.render(cameras, (8, 8)).values.any()


def test_only_values_know_the_view_direction() -> None:
    field = small_field()
    fields.assert_direction_moves_values_alone(field, field.network.value_direction)


def test_the_noise_level_matters() -> None:
    fields.assert_noise_level_matters(small_field())


def test_chunks_change_nothing() -> None:
    fields.assert_chunks_agree(small_field(fine_samples=8), small_field(fine_samples=8, chunk_size=100), 1e-3, 1e-4)


def test_autocast_keeps_the_surface_in_float32() -> None:
    fields.assert_float32_under_autocast(small_field())


def test_a_training_step_is_static() -> None:
    fields.assert_static_training_step(small_field(samples=6, fine_samples=5))


def test_what_makes_no_sense_is_refused() -> None:
    for options, expected in (({"gives": "features"}, "'values'"), ({"channels": 12}, "multiple of 8")):
        with pytest.raises(ValidationError, match=expected):
            TriplaneSpec.model_validate({"type": "triplane"} | TINY | options)
