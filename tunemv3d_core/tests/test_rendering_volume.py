import numpy as np
import pytest
import torch
from naive_rendering import naive_density_ray, naive_importance_sample, naive_ray

from tunemv3d_core.rendering.encoding import encode_points
from tunemv3d_core.rendering.volume import composite_density, composite_sdf, importance_sample, sample_along_rays


def test_point_encoding_is_eq_1() -> None:
    points = torch.rand(5, 3, dtype=torch.float64) * 2 - 1
    encoded = encode_points(points, 6, 1.5)
    terms = [f(2.0**k * 1.5 * points.numpy()) for k in range(6) for f in (np.sin, np.cos)]
    np.testing.assert_allclose(encoded.numpy(), np.concatenate(terms, axis=-1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("inv_s", [1.0, 20.0, 300.0, 1e4])
def test_compositing_is_the_naive_sum(inv_s: float) -> None:
    torch.manual_seed(0)
    depths = torch.rand(12, 10).sort(dim=-1).values + 2
    through_a_ball = (depths - 2.5).abs() - torch.rand(12, 1) * 0.6
    inside, outside = -torch.rand(4, 10) - 0.1, torch.rand(4, 10) + 5
    distances = torch.cat([through_a_ball[:4], inside, outside])
    values = torch.randn(12, 10, 1)
    got = composite_sdf(distances, values, depths, torch.tensor(inv_s))
    assert got.values.isfinite().all() and (got.opacity >= 0).all() and (got.opacity <= 1).all()
    for r in range(12):
        value, opacity, depth, weights = naive_ray(
            distances[r].tolist(), values[r, :, 0].tolist(), depths[r].tolist(), inv_s
        )
        assert sum(weights) <= 1 + 1e-9
        assert float(got.values[r, 0]) == pytest.approx(value, abs=3e-3 if inv_s > 1e3 else 1e-5)
        assert float(got.opacity[r]) == pytest.approx(opacity, abs=1e-3 if inv_s > 1e3 else 1e-5)
        assert float(got.depth[r]) == pytest.approx(depth, abs=3e-3)


@pytest.mark.parametrize("inv_s", [1.0, 1e4])
def test_compositing_has_finite_gradients(inv_s: float) -> None:
    depths = torch.linspace(2, 4, 16).expand(3, 16)
    distances = torch.stack([torch.linspace(1, -1, 16), torch.full((16,), -0.7), torch.full((16,), 0.9)])
    distances.requires_grad_()
    s = torch.tensor(inv_s, requires_grad=True)
    seen = composite_sdf(distances, torch.ones(3, 16, 1), depths, s)
    (seen.values.sum() + seen.opacity.sum() + seen.depth.sum()).backward()
    assert distances.grad is not None and distances.grad.isfinite().all()
    assert s.grad is not None and s.grad.isfinite()
    torch.testing.assert_close(seen.values[..., 0], seen.opacity)


@pytest.mark.parametrize("scale", [0.1, 3.0, 100.0, 1e5])
def test_compositing_densities_is_the_naive_sum(scale: float) -> None:
    torch.manual_seed(0)
    depths = torch.rand(12, 10).sort(dim=-1).values + 2
    lengths, densities = torch.rand(12, 10) * 0.2, torch.rand(12, 10) * scale
    densities[0], lengths[1], densities[2, :5] = 0, 0, 0
    values = torch.randn(12, 10, 1)
    got = composite_density(densities, values, depths, lengths)
    for r in range(12):
        given = (z[r].tolist() for z in (densities, values[..., 0], depths, lengths))
        value, opacity, depth = naive_density_ray(*given)
        assert float(got.values[r, 0]) == pytest.approx(value, abs=1e-5)
        assert float(got.opacity[r]) == pytest.approx(opacity, abs=1e-6)
        assert float(got.depth[r]) == pytest.approx(depth, abs=1e-4)
    assert got.opacity[0] == got.opacity[1] == got.depth[0] == got.depth[1] == 0, "nothing there, or no way through it"


def test_cutting_sections_of_a_density_changes_nothing() -> None:
    """A density that is constant over sections adds up exactly, however finely those are cut."""
    densities, values = torch.tensor([[0.0, 4.0, 1.0, 9.0]]), torch.randn(1, 4, 3)
    lengths = torch.tensor([[0.5, 0.1, 0.2, 0.3]])
    whole = composite_density(densities, values, torch.ones(1, 4), lengths)
    finer = (densities.repeat_interleave(5, 1), values.repeat_interleave(5, 1), torch.ones(1, 20))
    cut = composite_density(*finer, lengths.repeat_interleave(5, 1) / 5)
    torch.testing.assert_close(cut.values, whole.values)
    torch.testing.assert_close(cut.opacity, whole.opacity)


@pytest.mark.parametrize("scale", [1.0, 1e8])
def test_compositing_densities_has_finite_gradients(scale: float) -> None:
    densities = (torch.rand(3, 16) * scale).requires_grad_()
    lengths = torch.full((3, 16), 0.1, requires_grad=True)
    seen = composite_density(densities, torch.ones(3, 16, 1), torch.linspace(1, 2, 16).expand(3, 16), lengths)
    (seen.values.sum() + seen.opacity.sum() + seen.depth.sum()).backward()
    for tensor in (densities, lengths):
        assert tensor.grad is not None and tensor.grad.isfinite().all()
    torch.testing.assert_close(seen.values[..., 0], seen.opacity)


def test_sections_stay_sorted_within_their_bounds() -> None:
    near, far = torch.full((50,), 1.5), torch.full((50,), 3.0)
    even = sample_along_rays(near, far, 9, jitter=False)
    torch.testing.assert_close(even[0], torch.linspace(1.5, 3.0, 9))
    moved = sample_along_rays(near, far, 9, jitter=True)
    assert (moved.diff(dim=-1) >= 0).all() and moved.min() >= 1.5 and moved.max() <= 3.0
    assert (moved - even).abs().max() <= 1.5 / 8 / 2 + 1e-6
    assert moved[0].ne(moved[1]).any()


def test_further_samples_are_the_naive_draw() -> None:
    torch.manual_seed(0)
    depths = torch.rand(12, 10, dtype=torch.float64).sort(dim=-1).values + 2
    distances = (depths - 2.5).abs() - torch.rand(12, 1, dtype=torch.float64) * 0.6 + 0.2
    lengths = 1.2 * depths.diff(dim=-1)
    for inv_s in (1.0, 20.0, 300.0, 1e4):
        got = importance_sample(distances, depths, lengths, torch.tensor(inv_s).double(), 7, jitter=False)
        for r in range(12):
            given = distances[r].tolist(), depths[r].tolist(), lengths[r].tolist()
            assert got[r].tolist() == pytest.approx(naive_importance_sample(*given, inv_s, 7), abs=1e-9)


@pytest.mark.parametrize("inv_s", [20.0, 300.0, 1e4])
def test_further_samples_find_a_wall_between_two_samples(inv_s: float) -> None:
    """A wall of thickness 0.06 lies where no even sample sees its inside."""
    depths = torch.linspace(1, 2, 9).expand(200, 9)
    wall = (depths - 1.3125).abs() - 0.03
    assert (wall > 0).all()
    torch.manual_seed(0)
    for jitter in (False, True):
        fine = importance_sample(wall, depths, depths.diff(dim=-1), torch.tensor(inv_s), 16, jitter)
        assert (fine.diff(dim=-1) >= 0).all() and fine.min() >= 1 and fine.max() <= 2
        assert (((fine - 1.3125).abs() < 0.03).sum(-1) >= 2).all()
    assert fine[0].ne(fine[1]).any(), "jittered"


def test_further_samples_of_a_ray_without_a_surface_are_spread() -> None:
    depths = torch.linspace(1, 2, 9)[None]
    fine = importance_sample(
        torch.full((1, 9), 5.0), depths, depths.diff(dim=-1), torch.tensor(300.0), 16, jitter=False
    )
    torch.testing.assert_close(fine[0], 1 + (torch.arange(16) + 0.5) / 16, rtol=0, atol=1e-4)
