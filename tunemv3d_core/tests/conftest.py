"""Fixtures of core's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_distributions import FakeSite
from kit_tables import DESCRIPTORS, GOOD

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


@pytest.fixture
def kit(site: FakeSite, monkeypatch: pytest.MonkeyPatch) -> FakeSite:
    """The good components and the broken ones, installed."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    points = {f"tunemv3d.{slot}": {"good": f"kit_plugins:GOOD_{slot.upper()}"} for slot in (*GOOD, "dataset")}
    broken = {value.lower().replace("_", "-"): f"kit_plugins:{value}" for value in DESCRIPTORS.values()}
    broken |= {"heavy": "kit_heavy_plugin:HEAVY", "dicing": "kit_plugins:DICING"}
    points["tunemv3d.view_encoder"] |= broken
    site.distribution("kit_parts", points)
    return site
