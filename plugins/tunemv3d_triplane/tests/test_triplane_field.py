import math

import pytest
import torch
from pydantic import ValidationError
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from triplane_fixtures import FEATURES, randomize_zero_init, small_field, small_views

from tunemv3d_core.assemble import build_component
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import PortsError
from tunemv3d_core.ports import BackbonePorts, BuildContext, Neighbours, ViewEncoderPorts
from tunemv3d_core.rendering.rays import culling
from tunemv3d_core.slots import HasSurface, Scene
from tunemv3d_triplane.planes import AXES, PlaneMaker, others, read_off
from tunemv3d_triplane.spec import TriplaneSpec


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


def test_points_are_read_off_as_naively() -> None:
    planes, points = torch.randn(2, 3, 2, 5, 5), torch.randn(2, 9, 3)
    seen = read_off(planes, points, radius=0.8)
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
    maker = PlaneMaker(3, cells=4, folded=3, channels=8, blocks=1)
    with torch.no_grad():
        maker.fc_in.weight.copy_(torch.eye(3))
        maker.fc_in.bias.zero_()
        for fold in maker.fold:
            fold.weight.zero_()
            fold.bias.zero_()
            fold.weight[:3, :3] = torch.eye(3)
    grid = maker.grid(0.5, torch.device("cpu"))
    planes = maker(grid[None], torch.zeros(1))
    centres = torch.tensor([-0.375, -0.125, 0.125, 0.375])
    for k, (row, column) in enumerate(AXES):
        missing = ({0, 1, 2} - {row, column}).pop()
        folded = planes[0, k, :3]
        torch.testing.assert_close(folded[row], centres[:, None].expand(4, 4), rtol=0, atol=1e-5)
        torch.testing.assert_close(folded[column], centres[None].expand(4, 4), rtol=0, atol=1e-5)
        torch.testing.assert_close(folded[missing], torch.full((4, 4), -0.375), rtol=0, atol=1e-5)
    # And points of space read their own coordinates off them again.
    points = torch.rand(1, 20, 3) * 0.7 - 0.35
    seen = torch.unflatten(read_off(planes, points, 0.5), -1, (3, 8))
    for k, axes in enumerate(AXES):
        for axis in axes:
            torch.testing.assert_close(seen[..., k, axis], points[..., axis], rtol=0, atol=1e-5)


def test_planes_see_the_lines_of_the_others_that_cross_them() -> None:
    planes = torch.randn(1, 3, 1, 4, 4)
    told, by_axes = others(planes)[0], {axes: planes[0, k, 0] for k, axes in enumerate(AXES)}
    for k, axes in enumerate(AXES):
        for channel, axis in enumerate(axes):
            ((other, plane),) = [(a, p) for a, p in by_axes.items() if a != axes and axis in a]
            for i in range(4):
                line = plane[i] if other.index(axis) == 0 else plane[:, i]
                shown = told[k, channel, i] if channel == 0 else told[k, channel, :, i]
                assert shown.tolist() == pytest.approx([sum(line.tolist()) / 4] * 4, abs=1e-6)


@pytest.mark.parametrize("t", [0.0, 999.0])
def test_starts_as_a_sphere_whatever_the_features_and_t(t: float) -> None:
    features, cameras = small_views()
    scene = small_field().fuse(features * 100, cameras, torch.full((2,), t))
    assert isinstance(scene, Scene) and isinstance(scene, HasSurface)
    points = torch.randn(2, 300, 3)
    torch.testing.assert_close(scene.signed_distance(points), points.norm(dim=-1) - 0.5, rtol=0, atol=0)
    assert not scene.render(cameras, (4, 4)).values.any(), "values start white"


def test_the_views_are_looked_at_once_and_rendering_reads_planes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    field = small_field()
    randomize_zero_init(field)
    features, cameras = small_views()
    scene = field.fuse(features, cameras, torch.zeros(2))
    monkeypatch.setattr(field.aggregator, "forward", None)
    assert scene.render(cameras, (8, 8)).values.any()


def test_only_values_know_the_view_direction() -> None:
    field = small_field()
    randomize_zero_init(field)
    features, cameras = small_views(objects=1, views=2)
    renderings = []
    for factor in (100.0, 0.0):
        with torch.no_grad():
            field.network.value_direction.weight.mul_(factor)
        renderings.append(field.fuse(features, cameras, torch.zeros(1)).render(cameras, (6, 6)))
    torch.testing.assert_close(renderings[0].opacity, renderings[1].opacity, rtol=0, atol=0)
    assert (renderings[0].values - renderings[1].values).abs().max() > 1e-3


def test_t_matters() -> None:
    field = small_field()
    randomize_zero_init(field)
    features, cameras = small_views()
    low, high = (field.fuse(features, cameras, torch.full((2,), t)).render(cameras, (8, 8)) for t in (50.0, 900.0))
    assert (low.values - high.values).abs().max() > 1e-4 and (low.opacity - high.opacity).abs().max() > 1e-4


def test_training_reaches_every_parameter() -> None:
    field = small_field(fine_samples=6).train()
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
    merge = {"type": "triplane", "aggregator": {"type": "mean-variance"}}
    for options, told in (
        ({"gives": "features"}, "'values'"),
        ({"channels": 12}, "multiple of 8"),
        ({"cells": 0}, "cells"),
    ):
        with pytest.raises(ValidationError, match=told):
            TriplaneSpec.model_validate(merge | options)
    spec, context = TriplaneSpec.model_validate(merge), BuildContext(torch.device("cpu"))
    backbone = BackbonePorts(4, 32, 4, 12, (), "epsilon", 1000)
    with pytest.raises(PortsError, match="no view_encoder"):
        build_component("field", spec, Neighbours(backbone), context)
    ports = build_component("field", spec, Neighbours(backbone, ViewEncoderPorts(5)), context).ports
    assert (ports.features, ports.gives, ports.values) == (5, "latents", 4)
