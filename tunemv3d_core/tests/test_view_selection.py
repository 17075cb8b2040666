"""Views are chosen from where the cameras stand; compared with float64 loops over all sets, and with chairs."""

import itertools
import math
import random
import re
from statistics import median

import pytest
import torch

from tunemv3d_core.cameras import Cameras, sphere_points
from tunemv3d_core.errors import CameraError
from tunemv3d_core.io.posed_images import read_manifest, read_object
from tunemv3d_core.plugins.assets import find_asset
from tunemv3d_core.view_selection import farthest_views, spread_views, unseen_side

Place = tuple[float, float]
"""Azimuth and elevation, degrees."""


def cameras_at(places: list[Place], distance: float = 2.7) -> Cameras:
    azimuths, elevations = zip(*places, strict=True)
    points = sphere_points([math.radians(a) for a in azimuths], [math.radians(e) for e in elevations])
    return Cameras.look_at(points * distance)


def scattered(count: int, seed: int) -> list[Place]:
    rng = random.Random(seed)
    return [(rng.uniform(0, 360), rng.uniform(-30, 70)) for _ in range(count)]


def gaps(places: list[Place], chosen: tuple[int, ...] | list[int]) -> list[float]:
    turns = sorted(places[i][0] % 360 for i in chosen)
    return [b - a for a, b in zip(turns, [*turns[1:], turns[0] + 360], strict=True)]


def capture() -> list[Place]:
    """48 views in the order of time: half a round at one height, then on, rising, more densely."""
    return [(7.5 * i, 10.0) for i in range(24)] + [(180 + 7.5 * i, 10 + 1.25 * i) for i in range(24)]


def cost(places: list[Place], chosen: tuple[int, ...] | list[int]) -> float:
    """Cost of a choice as ``spread_views`` states it."""
    level = median(elevation for _, elevation in places)
    around = sorted(chosen, key=lambda i: places[i][0])
    climbs = [places[a][1] - places[b][1] for a, b in zip(around, [*around[1:], around[0]], strict=True)]
    off = [places[i][1] - level for i in chosen]
    return sum(x**2 for x in gaps(places, chosen)) + sum((x / 3) ** 2 for x in climbs) + sum((x / 5) ** 2 for x in off)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_the_choice_is_the_best_of_all_sets(count: int) -> None:
    for seed in range(4):
        places = scattered(12, seed)
        best = min(cost(places, chosen) for chosen in itertools.combinations(range(12), count))
        assert cost(places, spread_views(cameras_at(places), count)) == pytest.approx(best, abs=0.01)


@pytest.mark.parametrize("count", [2, 4, 6, 8, 12])
def test_gaps_of_a_capture_are_as_small_as_its_cameras_allow(count: int) -> None:
    """An independent search: the smallest widest gap with which ``count`` greedy steps come round from some camera."""
    places = capture()
    turns = sorted(a for a, _ in places)

    def comes_round(gap: float) -> bool:
        for start in turns:
            at = start
            for _ in range(count - 1):
                at = max(t + lap for t in turns for lap in (0, 360) if t + lap <= at + gap + 1e-6)
            if start + 360 <= at + gap + 1e-6:
                return True
        return False

    allowed = min(gap for gap in {(b - a) % 360 for a in turns for b in turns} if comes_round(gap))
    assert allowed == 360 / count
    assert max(gaps(places, spread_views(cameras_at(places), count))) <= allowed + 1e-6
    assert max(gaps(places, list(range(count)))) > 260  # the first ones stand on one side


def test_shuffled_cameras_give_the_same_views_in_the_same_round() -> None:
    ring = [(45.0 * i, 20.0) for i in range(8)]
    for places in (scattered(30, 1), capture(), ring, [(a, e) for a, _ in ring for e in (0.0, 20.0, 40.0)]):
        cameras = cameras_at(places)
        for count in (1, 2, 3, 4, 8):
            chosen = spread_views(cameras, count)
            for seed in range(5):
                order = list(range(len(places)))
                random.Random(seed).shuffle(order)
                shuffled = [order[i] for i in spread_views(cameras[order], count)]
                first = shuffled.index(chosen[0])
                assert shuffled[first:] + shuffled[:first] == chosen
                more = farthest_views(cameras, len(places) - count, chosen) if count < len(places) else []
                taken = [order.index(i) for i in chosen]
                assert [order[i] for i in farthest_views(cameras[order], len(more), taken)] == more


def test_the_packaged_chairs_keep_their_rings() -> None:
    chairs = find_asset("chairs")
    for name in read_manifest(chairs):
        cameras = read_object(chairs / "objects" / name).cameras
        assert spread_views(cameras, 8) == list(range(8))
        assert spread_views(cameras, 4) in ([0, 2, 4, 6], [1, 3, 5, 7])
        assert spread_views(cameras, 2) in ([0, 4], [1, 5], [2, 6], [3, 7])


@pytest.mark.parametrize("elevation", [-10, 0, 20, 60])
def test_a_ring_is_chosen_wherever_the_other_cameras_stand(elevation: float) -> None:
    for seed in range(5):
        places = [(17 + 45.0 * i, float(elevation)) for i in range(8)] + scattered(16, seed)
        assert spread_views(cameras_at(places), 8) == list(range(8))


def test_views_of_half_an_orbit_reach_both_ends_of_it() -> None:
    places = [(20.0 * i, 15.0) for i in range(10)]
    assert spread_views(cameras_at(places), 4) == [0, 3, 6, 9]


def test_a_round_goes_as_an_orbit_goes() -> None:
    assert spread_views(Cameras.orbit(12, azimuth=100), 12) == list(range(12))
    assert spread_views(Cameras.orbit(12, azimuth=100), 4) in ([0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11])


def test_a_camera_overhead_is_taken_last() -> None:
    places = [(0.0, 90.0), *((72.0 * i, 10.0) for i in range(5))]
    assert 0 not in spread_views(cameras_at(places), 5)
    assert 0 in spread_views(cameras_at(places), 6)


def test_further_views_are_those_of_a_greedy_loop() -> None:
    places = scattered(20, 5)
    points = [torch.tensor(p, dtype=torch.float64) for p in (cameras_at(places).origins / 2.7).double().tolist()]
    taken, expected = [3, 11], []
    for _ in range(6):
        rest = [i for i in range(20) if i not in taken]
        far = max(rest, key=lambda i: min(float(torch.acos((points[i] @ points[j]).clamp(-1, 1))) for j in taken))
        taken.append(far)
        expected.append(far)
    assert farthest_views(cameras_at(places), 6, [3, 11]) == expected


def test_more_views_than_cameras_are_refused() -> None:
    with pytest.raises(CameraError, match="9 views cannot be chosen from 8 cameras"):
        spread_views(Cameras.orbit(8), 9)
    with pytest.raises(CameraError, match="0 views"):
        spread_views(Cameras.orbit(8), 0)
    with pytest.raises(CameraError, match="7 views cannot be chosen from 8 cameras, 2 of them taken"):
        farthest_views(Cameras.orbit(8), 7, [0, 4])


@pytest.mark.parametrize(
    ("places", "azimuth", "angle", "words"),
    [
        ([(10.0 * i - 90, 20.0) for i in range(19)], 180, 180, r"within 90 degrees of azimuth 180 \(its back\)"),
        ([(a, e) for a in (30.0, 60.0, 90.0) for e in (-40.0, 0.0, 50.0)], 240, 300, "azimuth 240 .its back left"),
        ([(180.0, 5.0)], 0, 360, r"within 180 degrees of azimuth 0 \(its front\)"),
        ([(0.0, 90.0), (260.0, 0.0), (280.0, 0.0)], 90, 340, r"\(its right\)"),
    ],
)
def test_the_side_without_cameras_is_named(places: list[Place], azimuth: float, angle: float, words: str) -> None:
    side = unseen_side(cameras_at(places))
    assert side is not None
    assert side.azimuth == pytest.approx(azimuth, abs=1e-3) and side.angle == pytest.approx(angle, abs=1e-3)
    assert re.search(words, str(side))


@pytest.mark.parametrize("elevation", [-20, 0, 20, 75])
def test_a_ring_at_one_elevation_leaves_no_side_unseen(elevation: float) -> None:
    assert unseen_side(Cameras.orbit(8, elevation)) is None
    assert unseen_side(Cameras.orbit(3, elevation)) is None


def test_cameras_that_are_not_finite_are_left_to_others() -> None:
    cameras = Cameras.orbit(2)
    pose = cameras.camera_to_world.clone()
    pose[0, 0, 3] = torch.nan
    assert unseen_side(Cameras(pose, cameras.intrinsics)) is None
