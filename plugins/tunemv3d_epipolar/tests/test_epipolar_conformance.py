"""The field, asked everything that its slot asks."""

from collections.abc import Callable

import pytest

from tunemv3d_core.testing import parametrize_with_checks

pytestmark = pytest.mark.slow

TINY = {"hidden": 16, "heads": 2, "samples": 8}


@parametrize_with_checks("field", "epipolar", TINY)
def test_epipolar(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("field", "epipolar", {**TINY, "layers": 2, "gives": "features", "values": 6})
def test_epipolar_of_features(check: Callable[[], None]) -> None:
    check()
