"""The field, asked everything that its slot asks."""

from collections.abc import Callable

import pytest

from tunemv3d_core.testing import parametrize_with_checks

pytestmark = pytest.mark.slow

TINY = {
    "aggregator": {"type": "mean-variance"},
    "levels": 3,
    "finest": 16,
    "log2_entries": 8,
    "channels": 2,
    "hidden": 16,
    "samples": 8,
    "eikonal_points": 32,
}


@parametrize_with_checks("field", "hash", TINY)
def test_hash(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("field", "hash", {**TINY, "gives": "features", "values": 6, "fine_samples": 4})
def test_hash_of_features_with_fine_samples(check: Callable[[], None]) -> None:
    check()
