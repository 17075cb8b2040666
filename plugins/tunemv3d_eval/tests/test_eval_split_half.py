"""Grids that are fitted to a few views, what two halves of the views have in common, and distances of points."""

import numpy as np
import pytest
import torch
from eval_toys import RED, boxes_seen, chair, painted, sphere_seen, toy_model
from scipy.spatial.distance import cdist

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.slots import MeasuredObject
from tunemv3d_eval.metrics import voxels
from tunemv3d_eval.metrics.points import chamfer, f_score, nearest
from tunemv3d_eval.metrics.split_half import SplitHalf, split_half
from tunemv3d_eval.metrics.voxels import bundle, fit_voxels

SIZE = 32


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of the work: these pictures are small."""
    monkeypatch.setattr(voxels, "STEPS", 50)
    monkeypatch.setattr(voxels, "RAYS_PER_STEP", 1024)


def sphere(radius: float, points: int, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(points, 3))
    return radius * drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def test_points_against_brute_force() -> None:
    one, other = sphere(0.5, 300, 0), sphere(0.6, 400, 1)
    apart = cdist(one, other)
    assert chamfer(one, other) == pytest.approx((apart.min(1).mean() + apart.min(0).mean()) / 2)
    assert np.array_equal(nearest(one, other)[1], apart.argmin(1))
    for reach in (0.11, 0.12, 0.13):
        precision, recall = (apart.min(1) < reach).mean(), (apart.min(0) < reach).mean()
        assert f_score(one, other, reach) == pytest.approx(2 / (1 / precision + 1 / recall))
    assert f_score(one, other, 0.05) == 0
    assert chamfer(one, one) == 0 and f_score(one, one, 1e-9) == 1


def test_concentric_spheres_are_their_radii_apart() -> None:
    one, other = sphere(0.5, 20_000, 0), sphere(0.6, 20_000, 1)
    assert chamfer(one, other) == pytest.approx(0.1, abs=0.002)
    assert (f_score(one, other, 0.098), f_score(one, other, 0.12)) == (0, 1)


@pytest.mark.usefixtures("quick")
def test_a_grid_shows_the_sphere_that_it_was_fitted_to() -> None:
    cameras = Cameras.orbit(6)
    seen = sphere_seen(0.6, cameras, SIZE)
    grid = fit_voxels((painted(seen) + 1) / 2, seen, cameras)
    new = Cameras.orbit(3, elevation=5, azimuth=17)
    rays = bundle(new, (SIZE, SIZE))
    rendered = grid.render(rays)
    truth = sphere_seen(0.6, new, SIZE).flatten(1)
    assert ((rendered.opacity > 0.5) == truth).float().mean() > 0.97
    points = (rays.origins + rendered.depth[..., None] * rays.directions)[truth & (rendered.opacity > 0.9)]
    # Six views leave corners on the hull, above and below.
    assert (points.norm(dim=-1) - 0.6).abs().median() < 0.05
    colours = rendered.values[truth & (rendered.opacity > 0.9)]
    assert (colours - torch.tensor(RED)).abs().mean() < 0.05


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_halves_agree_the_less_the_more_one_is_turned() -> None:
    found = []
    for turn in (0.0, 10.0, 35.0):
        cameras = Cameras.orbit(8)
        drawn_by = cameras.camera_to_world.clone()
        drawn_by[1::2] = Cameras.orbit(8, azimuth=turn).camera_to_world[1::2]
        seen = boxes_seen(chair(), Cameras(drawn_by, cameras.intrinsics), SIZE)
        found.append(split_half(painted(seen), seen, cameras))
    decibels, apart = zip(*found, strict=True)
    assert decibels[0] > decibels[1] + 1 and decibels[1] > decibels[2] + 1
    assert apart[0] < apart[1] < apart[2]


def test_the_metric_depends_on_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voxels, "STEPS", 5)
    seen = boxes_seen(chair(), cameras := Cameras.orbit(4), SIZE)

    def measured(views: int = 4, shown: bool = True) -> dict[str, float | None]:
        masks = seen[:views] & shown
        torch.manual_seed(int(torch.randint(1000, ())))
        with torch.no_grad():
            latents = torch.zeros(views, 3, SIZE, SIZE)
            sample = MeasuredObject("", painted(masks), masks, latents, cameras[:views])
            return dict(SplitHalf().measure(sample, toy_model()))

    assert measured() == measured()
    assert set(measured(views=3).values()) == set(measured(shown=False).values()) == {None}


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_an_empty_half_is_as_far_as_can_be() -> None:
    seen = sphere_seen(0.6, cameras := Cameras.orbit(4), SIZE)
    seen[1::2] = False
    assert split_half(painted(seen), seen, cameras)[1] == 2
