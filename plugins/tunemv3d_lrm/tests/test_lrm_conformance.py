"""The field, asked everything that its slot asks."""

from collections.abc import Callable

import pytest

from tunemv3d_core.testing import parametrize_with_checks

pytestmark = pytest.mark.slow

TINY = {
    "patch": 2,
    "cells": 4,
    "upsampling": 2,
    "hidden": 16,
    "head_channels": 8,
    "blocks": 1,
    "channels": 8,
    "decoder": 16,
    "samples": 8,
    "eikonal_points": 32,
}

KNOWN = {
    "rolled_views": "patches of the views are its tokens, and which cells of a patch are up and which right is learned",
    "cropped_views": "it attends to every patch: where margins are cut off, other patches are left",
}


@parametrize_with_checks("field", "lrm", TINY, expected_failures=KNOWN)
def test_lrm(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("field", "lrm", {**TINY, "gives": "features", "values": 6, "fine_samples": 4}, KNOWN)
def test_lrm_of_features_with_fine_samples(check: Callable[[], None]) -> None:
    check()
