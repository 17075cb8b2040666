from collections.abc import Callable

from tunemv3d_core.testing import parametrize_with_checks


@parametrize_with_checks("injector", "film")
def test_conformance(check: Callable[[], None]) -> None:
    check()
