"""The mesher passes the conformance kit."""

from collections.abc import Callable

from tunemv3d_core.testing import parametrize_with_checks


@parametrize_with_checks("mesher", "marching-cubes", {"resolution": 64, "faces": 2000, "texture": 128})
def test_marching_cubes(check: Callable[[], None]) -> None:
    check()
