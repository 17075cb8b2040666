from collections.abc import Callable

from tunemv3d_core.testing import parametrize_with_checks

TINY = {"cells": 8, "channels": [8, 16], "hidden": 16, "samples": 8, "eikonal_points": 32}


@parametrize_with_checks("field", "volume", spec=TINY)
def test_conformance(check: Callable[[], None]) -> None:
    check()
