"""The tiny world of ``train_stand_ins`` as fixtures."""

import json
from collections.abc import Iterator
from pathlib import Path

import authors_package
import pytest
import torch
import train_stand_ins as tiny
from fake_distributions import FakeSite

from tunemv3d_core.plugins.registry import registry


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a distribution that offers the tiny components; on ``sys.path``."""
    folder = tmp_path / "site"
    tiny.offer(folder)
    monkeypatch.syspath_prepend(str(folder))
    registry().clear()
    yield folder
    registry().clear()


@pytest.fixture
def spec_file(tmp_path: Path, offered: Path) -> Path:
    """A spec of six steps on a tiny dataset."""
    return tiny.write_spec(tmp_path / "tiny.json", tiny.write_dataset(tmp_path / "discs"))


@pytest.fixture
def published(offered: Path) -> None:
    """An author's package, installed beside ours."""
    FakeSite(offered).distribution("authors-ideas", authors_package.entry_points(), "3.1")
    registry().clear()


@pytest.fixture
def spec_of_author(spec_file: Path, tmp_path: Path, published: None) -> Path:
    """A spec with everything of the author's, on a tiny dataset with depth."""
    authors_package.with_depth(tmp_path / "discs")
    path = tmp_path / "author.json"
    path.write_text(json.dumps({"extends": str(spec_file), "name": "author", **authors_package.AUTHORS}))
    return path
