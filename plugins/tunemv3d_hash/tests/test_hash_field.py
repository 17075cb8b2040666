import math

import pytest
import torch
from pydantic import ValidationError

from tunemv3d_core.slots import HasSurface, Scene
from tunemv3d_core.testing import fields
from tunemv3d_hash.field import HashField
from tunemv3d_hash.grid import PRIMES, HashGrid, factors, geometric
from tunemv3d_hash.spec import HashSpec

TINY = {
    "aggregator": {"type": "mean-variance"},
    "levels": 3,
    "finest": 16,
    "log2_entries": 8,
    "channels": 2,
    "hidden": 16,
    "eikonal_points": 32,
}


def small_field(**options: object) -> HashField:
    field: HashField = fields.small_field("hash", **(TINY | options))
    return field


def awake(field: HashField) -> HashField:
    """Nothing is zero, and the grid says something."""
    fields.randomize_zero_init(field)
    torch.nn.init.normal_(field.network.grid.tables)
    return field


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def naive_entry(corner: tuple[int, int, int], cells: int, entries: int) -> int:
    """Where a corner's features lie: one after another where all have room, by Instant-NGP's hash where not."""
    side = 1
    while side < cells + 1:
        side *= 2
    if side**3 <= entries:
        return corner[0] + side * corner[1] + side * side * corner[2]
    hashed = 0
    for place, prime in zip(corner, (1, 2654435761, 805459861), strict=True):
        hashed ^= place * prime
    return hashed % entries


def naive_lookup(tables: list[list[list[float]]], point: list[float], cells: list[int]) -> list[float]:
    found = []
    for table, n in zip(tables, cells, strict=True):
        inside = [min(max(x, 0.0), 1.0) * n for x in point]
        low = [min(math.floor(x), n - 1) for x in inside]
        sums = [0.0] * len(table[0])
        for offset in ((i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)):
            weight = 1.0
            for x, a, o in zip(inside, low, offset, strict=True):
                weight *= x - a if o else 1 - (x - a)
            entry = table[naive_entry((low[0] + offset[0], low[1] + offset[1], low[2] + offset[2]), n, len(table))]
            sums = [s + weight * e for s, e in zip(sums, entry, strict=True)]
        found += sums
    return found


def test_the_grid_is_that_of_a_loop() -> None:
    cells = [3, 6, 7, 8, 100, 1000]
    grid = HashGrid(cells, log2_entries=9, channels=2).double()
    torch.nn.init.normal_(grid.tables)
    points = torch.rand(2, 12, 3, dtype=torch.float64) * 1.4 - 0.2
    points[0, :2] = torch.tensor([[0.0, 1.0, 0.5], [1.0, 1.0, 1.0]])
    seen = grid(points)
    assert seen.shape == (2, 12, 12) == (2, 12, grid.channels)
    for b in range(2):
        for p in range(12):
            expected = naive_lookup(grid.tables.tolist(), points[b, p].tolist(), cells)
            assert seen[b, p].tolist() == pytest.approx(expected, abs=1e-12)


def test_gradients_of_entries_and_points_are_exact() -> None:
    grid = HashGrid([3, 9], log2_entries=6, channels=2).double()
    torch.nn.init.normal_(grid.tables)
    points = torch.rand(1, 4, 3, dtype=torch.float64, requires_grad=True)
    inputs = (points, grid.tables)
    assert torch.autograd.gradcheck(lambda p, _: grid(p), inputs)


def test_corners_of_small_grids_have_entries_of_their_own_and_hashed_ones_spread() -> None:
    for cells, log2_entries in ((7, 9), (15, 12)):
        by = factors(cells, log2_entries)
        side = range(cells + 1)
        entries = {x * by[0] ^ y * by[1] ^ z * by[2] for x in side for y in side for z in side}
        assert by != PRIMES and len(entries) == (cells + 1) ** 3 and max(entries) < 2**log2_entries
        assert factors(cells + 1, log2_entries) == PRIMES
    side = range(17)
    hashed = {(x ^ y * PRIMES[1] ^ z * PRIMES[2]) % 512 for x in side for y in side for z in side}
    assert len(hashed) == 512, "every entry serves some corner"


def test_levels_grow_geometrically_from_coarsest_to_finest() -> None:
    assert geometric(4, 64, 5) == [4, 8, 16, 32, 64] and geometric(4, 48, 6)[-1] == 48 and geometric(4, 64, 1) == [4]


def test_points_of_the_sphere_span_the_grid() -> None:
    field = small_field(radius=0.8)
    asked = []
    field.network.grid.register_forward_pre_hook(lambda _, inputs: asked.append(inputs[0]))
    features, cameras = fields.small_views()
    points = torch.tensor([[[0.8, -0.8, 0.0], [0.4, 0.0, -0.4]]]).expand(2, -1, -1)
    field.fuse(features, cameras, torch.zeros(2)).signed_distance(points)
    expected = torch.tensor([[1.0, 0.0, 0.5], [0.75, 0.5, 0.25]]).expand(2, -1, -1)
    torch.testing.assert_close(asked[0], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("t", [0.0, 999.0])
def test_starts_as_a_sphere_whatever_the_features_and_t(t: float) -> None:
    features, cameras = fields.small_views()
    scene = small_field().fuse(features * 100, cameras, torch.full((2,), t))
    assert isinstance(scene, Scene) and isinstance(scene, HasSurface)
    points = torch.randn(2, 300, 3)
    torch.testing.assert_close(scene.signed_distance(points), points.norm(dim=-1) - 0.5, rtol=0, atol=0)
    assert not scene.render(cameras, (4, 4)).values.any(), "values start white"


def test_objects_share_the_grid_and_differ_by_their_views() -> None:
    field, (features, cameras) = awake(small_field()), fields.small_views()
    points, t = torch.rand(1, 50, 3).expand(2, -1, -1) - 0.5, torch.zeros(2)
    alike = field.fuse(features[:1].expand_as(features), cameras, t).signed_distance(points)
    torch.testing.assert_close(alike[0], alike[1], rtol=0, atol=1e-6)
    two = field.fuse(features, cameras, t).signed_distance(points)
    assert (two[0] - two[1]).abs().max() > 1e-2


def test_the_views_modulate_what_the_grid_says() -> None:
    """The change that other entries make depends on the views: it is no sum of a grid's part and the views'."""
    field, (features, cameras) = awake(small_field()), fields.small_views()
    points, t = torch.rand(1, 50, 3).expand(2, -1, -1) - 0.5, torch.zeros(2)
    before = field.fuse(features, cameras, t).signed_distance(points)
    torch.nn.init.normal_(field.network.grid.tables)
    change = field.fuse(features, cameras, t).signed_distance(points) - before
    assert (change[0] - change[1]).abs().max() > 1e-2


@pytest.mark.parametrize("views", [1, 16])
def test_any_number_of_views_in_any_order_and_maps_that_are_not_square(views: int) -> None:
    field = awake(small_field())
    cameras, order = fields.small_views(views=views)[1], torch.randperm(views)
    features = torch.randn(2, views, fields.FEATURES, 6, 10)
    seen, again = (
        field.fuse(features[:, each], cameras[:, each], torch.zeros(2)).render(cameras[:, :1], (5, 7))
        for each in (torch.arange(views), order)
    )
    torch.testing.assert_close(again.values, seen.values, rtol=1e-3, atol=1e-4)


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
    for options, expected in (({"finest": 3}, "at least coarsest"), ({"hidden": 15}, "multiple of 2")):
        with pytest.raises(ValidationError, match=expected):
            HashSpec.model_validate({"type": "hash"} | TINY | options)
