"""Says what to do when the workspace is not installed, instead of failing in every test."""

import importlib
import os

import pytest

# Rich fixes a console's width at its creation where this is set, as pytest-xdist does in its workers.
os.environ.pop("COLUMNS", None)
# Before torch is imported: workers and the processes of tests share the cores.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

if importlib.import_module("tunemv3d_core").__file__ is None:
    pytest.exit("the packages are not installed here; run: make install", returncode=2)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that have slow tests: no worker then ends alone with a long file."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
