from collections.abc import Callable

from tunemv3d_core.testing import parametrize_with_checks

TINY = {"hidden": 16, "head_channels": 8, "blocks": 1}


@parametrize_with_checks("field", "attention", spec=TINY)
def test_conformance(check: Callable[[], None]) -> None:
    check()
