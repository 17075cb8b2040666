"""This package's components, asked everything that their slots ask."""

from collections.abc import Callable

import pytest

from tunemv3d_core.testing import parametrize_with_checks

pytestmark = pytest.mark.slow


@parametrize_with_checks("backbone", "diffusers", {"pretrained": "sd-mini"})
def test_diffusers(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("backbone", "diffusers", {"pretrained": "sd-mini", "trainable": "lora", "lora_rank": 2})
def test_diffusers_with_trained_lora(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("lifter", "copied-encoder", {"stem_channels": 4})
def test_copied_encoder(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("lifter", "copied-encoder", {"stem_channels": 4, "cross_view_stride": 2})
def test_copied_encoder_across_views(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("lifter", "lora-encoder", {"rank": 2, "stem_channels": 4})
def test_lora_encoder(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("lifter", "direct")
def test_direct(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("injector", "zero-conv")
def test_zero_conv(check: Callable[[], None]) -> None:
    check()
