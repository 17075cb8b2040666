"""Intervals cover the truth, tests are right as often as they say, and both agree with scipy where it has the same."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import binomtest, permutation_test, t

from tunemv3d_eval.statistics.bootstrap import interval, paired

REPEATS = 1000
Draws = Callable[[np.random.Generator], tuple[NDArray[np.float64], float]]


def shares(prompts: int, seeds: int, low: float, high: float) -> Draws:
    """Every prompt has a probability of its own; the truth, their mean, is another one in every repeat."""

    def draw(random: np.random.Generator) -> tuple[NDArray[np.float64], float]:
        truth = random.uniform(low, high)
        of_prompts = random.beta(2 * truth, 2 * (1 - truth), (prompts, 1))
        return (random.random((prompts, seeds)) < of_prompts).astype(float), truth

    return draw


def gaussian(prompts: int, seeds: int, between: float, within: float) -> Draws:
    return lambda r: (r.normal(0, between, (prompts, 1)) + r.normal(3, within, (prompts, seeds)), 3.0)


CASES: dict[str, Draws] = {
    "30 prompts, shares": shares(30, 1, 0.05, 0.95),
    "30 prompts, shares near 1": shares(30, 1, 0.9, 1.0),
    "60 x 2, shares": shares(60, 2, 0.05, 0.95),
    "60 x 2, mostly the prompt": gaussian(60, 2, 1.0, 0.2),
    "60 x 2, mostly the seed": gaussian(60, 2, 0.2, 1.0),
    "30 prompts": gaussian(30, 1, 1.0, 0.0),
    "300 x 2, skewed": lambda r: (r.gamma(2, 1, (300, 1)) * r.gamma(4, 0.25, (300, 2)), 2.0),
    "60 x 2, most at the limit": lambda r: (
        np.where(r.random((60, 2)) < 0.8, 1, r.integers(2, 8, (60, 2)) / 8),
        0.9125,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_intervals_cover_the_truth_in_93_to_97_percent(case: str) -> None:
    random, held = np.random.default_rng(4), 0
    for _ in range(REPEATS):
        values, truth = CASES[case](random)
        found = interval(values)
        assert found.mean == pytest.approx(values.mean())
        held += found.low <= truth <= found.high
    assert 0.93 <= held / REPEATS <= 0.97


def two_systems(random: np.random.Generator, prompts: int, seeds: int, gain: float) -> tuple[NDArray[np.float64], ...]:
    """Prompts are easy or hard for both, and each likes one of the two better by chance."""
    easy, liking = random.normal(0, 1, (prompts, 1)), random.normal(0, 0.5, (prompts, 1))
    a, b = (easy + side * (gain + liking) / 2 + random.normal(0, 0.7, (prompts, seeds)) for side in (-1, 1))
    return a, b


@pytest.mark.parametrize(("prompts", "seeds"), [(30, 1), (60, 2)])
def test_differences_are_covered_and_p_is_uniform_where_there_is_none(prompts: int, seeds: int) -> None:
    random, results = np.random.default_rng(3), []
    for _ in range(REPEATS):
        results.append(paired(*two_systems(random, prompts, seeds, 0.0), flips=2000))
    assert 0.93 <= np.mean([found.low <= 0 <= found.high for found in results]) <= 0.97
    p = np.array([found.p for found in results])
    for level in (0.05, 0.1, 0.25, 0.5, 0.75, 0.9):
        # Three standard errors of a share of 1,000.
        assert abs((p <= level).mean() - level) < 3 * np.sqrt(level * (1 - level) / REPEATS)


@pytest.mark.parametrize(("prompts", "seeds"), [(30, 1), (60, 2)])
def test_differences_of_shares_are_covered(prompts: int, seeds: int) -> None:
    random, results, gain = np.random.default_rng(5), [], 0.4
    # The spread of a latent score: prompts, half the liking, seeds.
    truth = ndtr(gain / 2 / (spread := np.sqrt(1 + 0.25**2 + 0.7**2))) - ndtr(-gain / 2 / spread)
    for _ in range(REPEATS):
        a, b = two_systems(random, prompts, seeds, gain)
        results.append(paired((a > 0).astype(float), (b > 0).astype(float), flips=500))
    assert 0.93 <= np.mean([found.low <= truth <= found.high for found in results]) <= 0.97


def test_the_smallest_visible_difference_is_seen_in_80_percent() -> None:
    random = np.random.default_rng(6)
    visible = np.mean([paired(*two_systems(random, 60, 2, 0.0), flips=500).smallest_visible for _ in range(200)])
    seen = [paired(*two_systems(random, 60, 2, visible), flips=2000).p < 0.05 for _ in range(REPEATS)]
    assert 0.76 <= np.mean(seen) <= 0.84


@pytest.mark.parametrize("successes", [0, 1, 15, 29, 30])
def test_shares_of_one_seed_have_wilsons_interval(successes: int) -> None:
    values = (np.arange(30) < successes).astype(float)[:, None]
    expected = binomtest(successes, 30).proportion_ci(method="wilson")
    found = interval(values)
    assert (found.low, found.high) == (pytest.approx(expected.low, abs=1e-9), pytest.approx(expected.high))


def test_seeds_that_always_agree_are_no_further_evidence() -> None:
    one = (np.arange(30) < 20).astype(float)[:, None]
    twice = one.repeat(4, axis=1)
    assert interval(twice) == interval(one)
    continuous = np.random.default_rng(0).normal(size=(30, 1))
    assert interval(continuous.repeat(4, axis=1)).high == pytest.approx(interval(continuous).high)


def test_the_interval_of_gaussian_values_is_nearly_students() -> None:
    values = np.random.default_rng(1).normal(2, 3, (40, 1))
    half = t.ppf(0.975, 39) * values.std(ddof=1) / np.sqrt(40)
    found = interval(values, repeats=100_000)
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.06 * half)


def test_p_is_that_of_scipy() -> None:
    random = np.random.default_rng(7)
    a, b = random.normal(0, 1, (25, 1)), random.normal(0.4, 1, (25, 1))
    expected = permutation_test(
        (a[:, 0], b[:, 0]), lambda x, y: np.mean(y - x), permutation_type="samples", n_resamples=20_000, rng=random
    )
    found = paired(a, b, flips=20_000)
    assert found.difference == pytest.approx(expected.statistic)
    assert found.p == pytest.approx(expected.pvalue, abs=0.01)


def test_p_of_shares_is_mcnemars() -> None:
    """12 prompts won, 3 lost, 15 equal."""
    a = np.array([0.0] * 12 + [1.0] * 3 + [1.0] * 15)[:, None]
    b = np.array([1.0] * 12 + [0.0] * 3 + [1.0] * 15)[:, None]
    found = paired(a, b, flips=50_000)
    assert found.difference == pytest.approx(0.3)
    assert found.p == pytest.approx(binomtest(3, 15).pvalue, abs=0.003)


def test_equal_results_are_no_certainty_for_shares() -> None:
    found = paired(np.ones((30, 1)), np.ones((30, 1)))
    assert found.difference == 0 and found.p == 1
    assert found.low < -0.05 and found.high > 0.05
    assert found.smallest_visible == pytest.approx(6 / 30)


def test_five_prompts_can_show_nothing() -> None:
    found = paired(np.zeros((5, 1)), np.arange(1.0, 6.0)[:, None])
    assert found.p > 0.05 and found.smallest_visible is None
    assert paired(np.zeros((6, 1)), np.arange(1.0, 7.0)[:, None]).p < 0.05


def test_figures_that_do_not_apply_are_left_out() -> None:
    values = np.array([[1.0, np.nan], [2.0, 5.0], [np.nan, np.nan], [0.5, 3.5]])
    found = interval(values)
    assert found.mean == pytest.approx(12 / 5)
    assert found == interval(values[[0, 1, 3]])
    other = np.array([[2.0, 7.0], [np.nan, 6.0], [1.0, 1.0], [1.0, 4.0]])
    assert paired(values, other).difference == pytest.approx((1 + 1 + 0.5 + 0.5) / 4)


def test_too_little_for_an_interval() -> None:
    nothing = interval(np.full((4, 2), np.nan))
    assert (nothing.mean, nothing.low, nothing.high) == (None, None, None)
    one = interval(np.array([[1.0, 2.0]]))
    assert (one.mean, one.low, one.high) == (1.5, None, None)
    assert paired(np.array([[1.0]]), np.array([[3.0]])).difference == 2.0
    assert paired(np.array([[1.0]]), np.array([[3.0]])).p is None
    assert paired(np.full((3, 1), np.nan), np.ones((3, 1))).difference is None


def test_wrong_axes_are_refused() -> None:
    with pytest.raises(ValueError, match="prompts seeds"):
        interval(np.ones(3))
    with pytest.raises(ValueError, match="same prompts"):
        paired(np.ones((3, 1)), np.ones((3, 2)))
