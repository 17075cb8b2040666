"""The built-in optimizer and schedules in the conformance kit, through the same door as anybody's."""

from collections.abc import Callable
from importlib.util import find_spec

import pytest

from tunemv3d_core.testing import parametrize_with_checks

needs_bitsandbytes = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="needs the extra 8bit")


@parametrize_with_checks("optimizer", "adamw")
def test_adamw(check: Callable[[], None]) -> None:
    check()


@needs_bitsandbytes
@parametrize_with_checks("optimizer", "adamw-8bit")
def test_adamw_8bit(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("schedule", "constant")
def test_constant(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("schedule", "cosine", {"start": 0.2})
def test_cosine(check: Callable[[], None]) -> None:
    check()
