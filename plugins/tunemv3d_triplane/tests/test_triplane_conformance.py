from collections.abc import Callable

from tunemv3d_core.testing import parametrize_with_checks

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


@parametrize_with_checks("field", "triplane", spec=TINY)
def test_conformance(check: Callable[[], None]) -> None:
    check()
