"""The field, asked everything that its slot asks."""

from collections.abc import Callable

import pytest

from tunemv3d_core.testing import parametrize_with_checks

pytestmark = pytest.mark.slow

TINY = {
    "aggregator": {"type": "mean-variance"},
    "cells": 8,
    "folded": 4,
    "channels": 8,
    "plane_blocks": 2,
    "hidden": 16,
    "samples": 8,
    "eikonal_points": 32,
}


@parametrize_with_checks("field", "triplane", TINY)
def test_triplane(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("field", "triplane", {**TINY, "gives": "features", "values": 6, "fine_samples": 4})
def test_triplane_of_features_with_fine_samples(check: Callable[[], None]) -> None:
    check()
