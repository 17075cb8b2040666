from collections.abc import Callable

from tunemv3d_core.testing import parametrize_with_checks

TINY = {"aggregator": {"type": "mean-variance"}, "hidden": 16, "blocks": 2, "samples": 8}


@parametrize_with_checks("field", "density", spec=TINY)
def test_conformance(check: Callable[[], None]) -> None:
    check()
