"""Packaged folders by name."""

from pathlib import Path

import pytest
from fake_distributions import FakeSite

from tunemv3d_core.errors import ComponentError
from tunemv3d_core.plugins.assets import find_asset


@pytest.fixture
def stools(site: FakeSite) -> Path:
    folder = site.folder / "stools-data"
    folder.mkdir()
    site.module("fake_stools", "from pathlib import Path\nSTOOLS = Path(__file__).parent / 'stools-data'\n")
    site.distribution("fake_stools", {"tunemv3d.asset": {"stools": "fake_stools:STOOLS"}})
    return folder


def test_a_name_comes_before_a_path(stools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stools").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_asset("stools") == stools
    assert find_asset("fake-stools:stools") == stools
    assert find_asset("./stools") == Path("stools")
    assert find_asset(tmp_path) == tmp_path


def test_neither_lists_what_is_installed(stools: Path) -> None:
    with pytest.raises(ComponentError, match=r"no asset 'stool'\. Did you mean 'stools'\? Installed: .*stools \(fake-"):
        find_asset("stool")


def test_an_asset_whose_folder_is_gone_says_how_to_get_it_back(stools: Path) -> None:
    stools.rmdir()
    with pytest.raises(ComponentError, match="reinstall it: 'fake-stools' is not of this project"):
        find_asset("stools")
