"""The kit and datasets: readers with the mistakes that authors make, each found by name and told in one sentence."""

from dataclasses import replace

import kit_datasets
import pytest
import torch
from fake_distributions import FakeSite
from kit_tables_datasets import BROKEN

from tunemv3d_core.cameras import Cameras, intersect_sphere
from tunemv3d_core.dataset_checks import check_dataset
from tunemv3d_core.errors import DatasetError
from tunemv3d_core.testing import Outcome, run_checks
from tunemv3d_core.testing.silhouettes import hull_share
from tunemv3d_core.testing.suite import Suite

SEEN_BEFORE_TRAINING = {"splits", "records", "cameras", "pictures", "sight"}


def outcomes(part: str) -> dict[str, tuple[Outcome, str]]:
    """What the kit says of a class of ``kit_datasets``, without the descriptor."""
    suite = Suite("dataset", "good", {"part": part})
    return {check.name: (suite.result(check).outcome, suite.result(check).note) for check in suite.checks[7:]}


@pytest.mark.parametrize("part", ["Balls", "Pastel", "Streamed", "WithMaps"])
def test_an_unbroken_reader_passes(kit: FakeSite, part: str) -> None:
    outcome = {result.check: result.outcome for result in run_checks("dataset", "good", {"part": part})}
    for check, has in (("streams", "Streamed"), ("maps", "WithMaps")):
        assert outcome.pop(check) is (Outcome.PASSED if part == has else Outcome.NOT_APPLICABLE)
    assert set(outcome.values()) == {Outcome.PASSED}


@pytest.mark.parametrize("part", BROKEN)
def test_a_broken_reader_fails_the_check_that_asks_for_it(kit: FakeSite, part: str) -> None:
    name, said = BROKEN[part]
    found = outcomes(part)
    assert [check for check, (outcome, _) in found.items() if outcome is Outcome.FAILED] == [name]
    assert said in found[name][1] and "\n" not in found[name][1]


@pytest.mark.parametrize("part", [part for part, (name, _) in BROKEN.items() if name in SEEN_BEFORE_TRAINING])
def test_what_a_run_asks_first_refuses_the_same(part: str) -> None:
    with pytest.raises(DatasetError) as caught:
        check_dataset(kit_datasets.opened(part))
    assert ("; " in str(caught.value) or ": move" in str(caught.value)) and "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["Balls", "Pastel", "Streamed", "Jitters", "SortsViews", "OneFile"])
def test_what_a_run_asks_first_lets_the_others_pass(part: str) -> None:
    check_dataset(kit_datasets.opened(part))


def test_rounding_of_white_is_no_fault() -> None:
    check_dataset(kit_datasets.Balls(pictures=lambda images, alpha: (images * (1 + 2e-7), alpha)))


@pytest.mark.parametrize(
    ("order", "agrees"),
    [
        ([0, 1, 2, 3, 4, 5], True),
        ([1, 2, 3, 4, 5, 0], True),  # on an even ring, the same as a world that is turned
        ([5, 4, 3, 2, 1, 0], False),
        ([3, 1, 2, 0, 4, 5], False),
    ],
)
def test_silhouettes_agree_where_pictures_belong_to_cameras(order: list[int], agrees: bool) -> None:
    cameras = Cameras.orbit(6, elevation=30)
    rays = cameras.rays((64, 64))
    beside = replace(rays, origins=rays.origins - torch.tensor([0.5, 0.1, -0.3]))
    alpha = intersect_sphere(beside, 0.15)[2].float().unflatten(-1, (64, 64))
    share = hull_share(alpha[order], cameras)
    assert share == 1 if agrees else share < 0.8


def test_silhouettes_of_nothing_agree() -> None:
    assert hull_share(torch.zeros(3, 8, 9), Cameras.orbit(3)) == 1
