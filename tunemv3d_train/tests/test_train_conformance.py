"""Datasets in the conformance kit: this package's own, and one that lies in memory."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import memory_dataset
import pytest
import train_stand_ins as tiny

from tunemv3d_core.plugins.registry import registry
from tunemv3d_core.testing import parametrize_with_checks

_HELD = tempfile.TemporaryDirectory()
FOLDER = Path(_HELD.name)
"""Of shards: checks are made of options that are known when tests are collected."""


@pytest.fixture(scope="module", autouse=True)
def packed() -> None:
    tiny.pack(tiny.write_dataset(FOLDER / "discs"), FOLDER / "packed")


@pytest.fixture
def memory(offered: Path) -> None:
    memory_dataset.offer(offered)
    registry().clear()


@parametrize_with_checks("dataset", "multiview", {"path": "chairs"})
def test_multiview(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("dataset", "shards", {"path": str(FOLDER / "packed")})
def test_shards(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks(
    "dataset", "memory", expected_failures={"light_descriptor": "descriptor and reader are one file"}
)
def test_memory(memory: None, check: Callable[[], None]) -> None:
    check()
