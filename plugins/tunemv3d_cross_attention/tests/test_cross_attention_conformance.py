from collections.abc import Callable

from tunemv3d_core.testing import parametrize_with_checks

TINY = {"heads": 2, "head_channels": 8}


@parametrize_with_checks("injector", "cross-attention", spec=TINY)
def test_conformance(check: Callable[[], None]) -> None:
    check()
