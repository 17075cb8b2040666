from collections.abc import Callable

from tunemv3d_core.testing import parametrize_with_checks

TINY = {"hidden": 8, "depths": 6, "listed": 64}


@parametrize_with_checks("field", "gaussians", spec=TINY)
def test_conformance(check: Callable[[], None]) -> None:
    check()
