"""Fixtures of core's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_distributions import FakeSite

from tunemv3d_core.plugins.registry import registry


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSite]:
    """A folder of fake distributions on ``sys.path``, before what is really installed."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    registry().clear()
    fake = FakeSite(folder)
    yield fake
    fake.forget()
    registry().clear()
