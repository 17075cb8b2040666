"""The kit and datasets: readers with the mistakes that authors make, each found by name and told in one sentence."""

import kit_datasets
import pytest
from fake_distributions import FakeSite
from kit_tables_datasets import BROKEN

from tunemv3d_core.dataset_checks import check_dataset
from tunemv3d_core.errors import DatasetError
from tunemv3d_core.testing import Outcome, run_checks
from tunemv3d_core.testing.suite import Suite

SEEN_BEFORE_TRAINING = {"splits", "records", "cameras", "pictures", "sight"}


def outcomes(part: str) -> dict[str, tuple[Outcome, str]]:
    """What the kit says of a class of ``kit_datasets``, without the descriptor."""
    suite = Suite("dataset", "good", {"part": part})
    return {check.name: (suite.result(check).outcome, suite.result(check).note) for check in suite.checks[7:]}


@pytest.mark.parametrize("part", ["Balls", "Pastel", "Streamed"])
def test_an_unbroken_reader_passes(kit: FakeSite, part: str) -> None:
    outcome = {result.check: result.outcome for result in run_checks("dataset", "good", {"part": part})}
    assert outcome.pop("streams") is (Outcome.PASSED if part == "Streamed" else Outcome.NOT_APPLICABLE)
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
