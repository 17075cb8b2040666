"""The field, asked everything that its slot asks."""

from collections.abc import Callable

import pytest

from tunemv3d_core.testing import parametrize_with_checks

pytestmark = pytest.mark.slow

TINY = {"cells": 8, "channels": [8, 16], "hidden": 16, "samples": 8, "eikonal_points": 32}


@parametrize_with_checks("field", "volume", TINY)
def test_volume(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("field", "volume", {**TINY, "gives": "features", "values": 6, "fine_samples": 4})
def test_volume_of_features_with_fine_samples(check: Callable[[], None]) -> None:
    check()
