"""This package's mesh renderers in the conformance kit; blender is asked for pictures where it is installed."""

from collections.abc import Callable

from tunemv3d_core.testing import parametrize_with_checks


@parametrize_with_checks("mesh_renderer", "embree")
def test_embree(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("mesh_renderer", "moderngl")
def test_moderngl(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("mesh_renderer", "blender")
def test_blender(check: Callable[[], None]) -> None:
    check()
