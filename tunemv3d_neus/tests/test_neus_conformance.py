"""This package's components, asked everything that their slots ask."""

from collections.abc import Callable

import pytest

from tunemv3d_core.testing import parametrize_with_checks

pytestmark = pytest.mark.slow

TINY = {"hidden": 16, "samples": 8, "eikonal_points": 32}


@parametrize_with_checks("view_encoder", "resattn", {"channels": [16, 32], "head_channels": 16})
def test_resattn(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("view_encoder", "resattn", {"channels": [16], "head_channels": 16, "foreground_x0": True})
def test_resattn_with_foreground_x0(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("field", "neus", {**TINY, "aggregator": {"type": "mean-variance"}})
def test_neus(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks(
    "field",
    "neus",
    {**TINY, "aggregator": {"type": "visibility"}, "fine_samples": 4, "gives": "features", "values": 6},
)
def test_neus_of_features_with_fine_samples(check: Callable[[], None]) -> None:
    check()


LETTER = {"directions": "input", "skip_features": False}


@parametrize_with_checks("field", "neus", {**TINY, **LETTER, "aggregator": {"type": "mean-variance"}})
def test_neus_by_the_letter(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("aggregator", "mean-variance")
def test_mean_variance(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("aggregator", "visibility")
def test_visibility(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("aggregator", "attention")
def test_attention(check: Callable[[], None]) -> None:
    check()
