"""The tiny world that is disturbed, and the record of what was counted."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "tunemv3d_train/tests")]

import train_stand_ins as tiny  # noqa: E402
from harness import Zygote  # noqa: E402


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What disturbs commands takes long: a worker begins with it, and the quick tests leave it out."""
    for item in items:
        if item.get_closest_marker("faults"):
            item.add_marker("slow")


@pytest.fixture(scope="session")
def offered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("offered") / "site"
    tiny.offer(folder)
    return folder


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory, offered: Path) -> Iterator[Zygote]:
    made = Zygote(tmp_path_factory.mktemp("zygote"), offered)
    yield made
    made.close()
