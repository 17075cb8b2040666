"""The field, asked everything that its slot asks."""

from collections.abc import Callable

import pytest

from tunemv3d_core.testing import parametrize_with_checks

pytestmark = pytest.mark.slow

TINY = {"aggregator": {"type": "mean-variance"}, "hidden": 16, "blocks": 2, "samples": 8}


@parametrize_with_checks("field", "density", TINY)
def test_density(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("field", "density", {**TINY, "gives": "features", "values": 6})
def test_density_of_features(check: Callable[[], None]) -> None:
    check()
