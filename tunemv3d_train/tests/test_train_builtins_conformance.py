"""The built-in optimizer and schedules in the conformance kit, through the same door as anybody's."""

from collections.abc import Callable

from tunemv3d_core.testing import parametrize_with_checks


@parametrize_with_checks("optimizer", "adamw")
def test_adamw(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("schedule", "constant")
def test_constant(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("schedule", "cosine", {"start": 0.2})
def test_cosine(check: Callable[[], None]) -> None:
    check()
