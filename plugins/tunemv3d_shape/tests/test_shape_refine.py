"""Refinement against analytic shapes: pictures come from an independent renderer, the start is wrong on purpose."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from shape_toys import Formula, box, numpy_of, seen, sphere, torus

from tunemv3d_core.cameras import Cameras, Rays
from tunemv3d_core.errors import SampleError
from tunemv3d_core.slots import HasSurface
from tunemv3d_shape.refinement import fit as fitting
from tunemv3d_shape.refinement.fit import FitOptions, FitProgress, fit
from tunemv3d_shape.refinement.grid import Grid, gradient, render_rays
from tunemv3d_shape.refinement.shape import RefinedShape, read_refined, write_refined
from tunemv3d_shape.surface import HALF, all_distances, extract_surface

QUICK = FitOptions(cells=32, steps=120, coarse=40, rays=256)
CAMERAS = Cameras.cat([Cameras.orbit(4, elevation=20), Cameras.orbit(2, elevation=60)])
TRUE = box((0.35, 0.5, 0.3))


def grid_of(shape: Formula, cells: int) -> Grid:
    return Grid(torch.from_numpy(all_distances(shape, cells)), torch.full((cells + 1,) * 3 + (3,), 0.5))


@pytest.mark.parametrize("learns", [True, False])
def test_a_grid_is_trilinear(learns: bool) -> None:
    """Against one written out point by point in float64; without a gradient it is another program."""
    torch.manual_seed(0)
    values, points = torch.randn(5, 5, 5), (torch.rand(50, 3) * 2 - 1) * 0.94
    points[:2] = torch.tensor([[0.3, 1.2, 0.1], [-0.96, 0.2, 2.0]])  # outside, where the nearest place's value holds
    with torch.set_grad_enabled(learns):
        found = Grid(values, torch.zeros(5, 5, 5, 3)).distance(points)
    for point, value in zip(points.double().numpy(), found.tolist(), strict=True):
        place = ((point + HALF) / (2 * HALF / 4)).clip(0, 4)
        low = np.floor(place).astype(int).clip(0, 3)
        share, total = place - low, 0.0
        for corner in np.ndindex(2, 2, 2):
            weight = np.prod([s if c else 1 - s for s, c in zip(share, corner, strict=True)])
            total += weight * float(values[tuple(low + corner)])
        # Outside, the corner's neighbours have a thousandth.
        assert value == pytest.approx(total, abs=1e-5 if np.abs(point).max() < HALF else 1e-2)


def test_finer_grids_are_the_same_shape_and_gradients_point_outwards() -> None:
    grid = grid_of(torus(0.5, 0.25), 32)
    points = (torch.rand(500, 3, generator=torch.Generator().manual_seed(1)) * 2 - 1) * 0.8
    torch.testing.assert_close(grid.finer(65).distance(points), grid.distance(points), atol=2e-3, rtol=0)
    points = points[(points.norm(dim=-1) - 0.55).abs() < 0.25]
    slopes = gradient(grid_of(sphere(0.5), 48).nearby(points), 2 * HALF / 48)
    torch.testing.assert_close(slopes, points / points.norm(dim=-1, keepdim=True), atol=0.15, rtol=0)


def test_a_sphere_is_rendered_where_it_is() -> None:
    grid, camera = grid_of(sphere(0.5), 64), Cameras.orbit(1, elevation=0)[0]
    ahead = Rays(
        camera.origins.expand(2, 3), torch.stack([-camera.origins / 2.7, -camera.origins / 2.7 + torch.eye(3)[0]])
    )
    with torch.no_grad():
        seen_there = render_rays(grid, ahead, 200.0)
    assert float(seen_there.opacity[0]) > 0.99 and float(seen_there.opacity[1]) < 1e-3
    assert float(seen_there.depth[0]) == pytest.approx(2.2, abs=0.01) and float(seen_there.depth[1]) == 0
    torch.testing.assert_close(seen_there.values[0], torch.full((3,), 0.5), atol=0.01, rtol=0)


@pytest.mark.slow
def test_a_wrong_box_becomes_the_pictured_one() -> None:
    """Started a tenth too small and not held there; judged from cameras that it was not fitted to."""
    pictures, judges = seen(numpy_of(TRUE), CAMERAS, 48), Cameras.orbit(2, elevation=40, azimuth=30)
    truth = seen(numpy_of(TRUE), judges, 48)
    start = box((0.3, 0.43, 0.26))
    refined, looks, interrupted = fit(start, pictures, replace(QUICK, depth=0.0, normals=0.0))
    before = RefinedShape(grid_of(start, 32), refined.inv_s, (48, 48))

    def errors(shape: RefinedShape) -> tuple[float, float]:
        found = shape.pictures(judges)
        ours, theirs = found.alpha > 0.5, truth.alpha > 0.5
        overlap = float((ours & theirs).sum() / (ours | theirs).sum())
        return overlap, float((found.on_white() - truth.on_white()).square().mean())

    assert not interrupted and looks[-1]["loss"] < 0.6 * looks[0]["loss"]
    (overlap_before, error_before), (overlap, error) = errors(before), errors(refined)
    assert overlap > 0.93 > 0.85 > overlap_before
    assert error < 0.5 * error_before
    assert off_the_box(refined) < 0.03 < 0.05 < off_the_box(start)


def off_the_box(shape: HasSurface) -> float:
    """Mean distance of the surface from the true box by its formula, but for the underside, which no camera sees."""
    places = torch.from_numpy(extract_surface(shape, 48).vertices)
    return float(TRUE.distance(places[places[:, 2] > -0.2]).abs().mean())


def test_the_same_seed_gives_the_same_shape_and_a_file_keeps_it(tmp_path: object) -> None:
    pictures = seen(numpy_of(TRUE), CAMERAS[:2], 24)
    options = FitOptions(cells=16, steps=6, coarse=3, rays=64, seed=5)
    one, other = (fit(sphere(0.4), pictures, options)[0] for _ in range(2))
    assert torch.equal(one.grid.distances, other.grid.distances) and torch.equal(one.grid.colours, other.grid.colours)
    write_refined(tmp_path, one)  # type: ignore[arg-type]
    kept = read_refined(tmp_path)  # type: ignore[arg-type]
    assert torch.equal(kept.grid.distances, one.grid.distances) and kept.size == (24, 24)
    torch.testing.assert_close(kept.pictures(CAMERAS[:1]).colours, one.pictures(CAMERAS[:1]).colours, atol=2e-3, rtol=0)


def test_ctrl_c_keeps_what_is_there() -> None:
    def stop(step: int) -> None:
        if step == 4:
            raise KeyboardInterrupt

    options = FitOptions(cells=16, steps=50, coarse=2, rays=64)
    refined, looks, interrupted = fit(sphere(0.4), seen(numpy_of(TRUE), CAMERAS[:2], 24), options, on_step=stop)
    assert interrupted and [look["step"] for look in looks] == [0]
    assert bool(refined.grid.distances.isfinite().all())


def test_a_fit_that_does_not_improve_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "EVERY", 2)
    monkeypatch.setattr(fitting, "PROGRESS", 0.999)
    seen_looks: list[FitProgress] = []
    options = FitOptions(cells=16, steps=50, coarse=2, rays=32)
    fit(sphere(0.4), seen(numpy_of(TRUE), CAMERAS[:2], 16), options, on_progress=seen_looks.append)
    assert [look.step for look in seen_looks] == [0, 2, 4, 6]


@pytest.mark.parametrize(
    ("shape", "said"),
    [(sphere(-0.2), "has no inside"), (Formula(lambda p: p[..., 0] * torch.nan), "not a finite number")],
)
def test_what_cannot_be_refined_says_so(shape: Formula, said: str) -> None:
    with pytest.raises(SampleError, match=said):
        fit(shape, seen(numpy_of(TRUE), CAMERAS[:1], 16), FitOptions(cells=16))
