"""What a wheel's modules import is compared with what its dependencies bring."""

import zipfile
from pathlib import Path
from typing import Any

import pytest

from tunemv3d_release.build import Built, Project
from tunemv3d_release.imports import brought_by, import_errors, imported

SOURCE = b"""
import os, numpy.linalg
from pathlib import Path
from . import near
from .deep import torch
from yaml import safe_load
if TYPE_CHECKING:
    import checked
else:
    import executed
try:
    import fast
except (ModuleNotFoundError, OSError):
    import slow
try:
    import needed
except OSError:
    pass
def late():
    from scipy import ndimage
"""


def test_what_is_imported_wherever_it_stands_unless_it_can_be_missing() -> None:
    assert imported(SOURCE) == {"os", "numpy", "pathlib", "yaml", "executed", "slow", "needed", "scipy"}
    assert imported(b"def (") == set()


def test_dependencies_bring_what_they_require_themselves() -> None:
    known = {
        "a": ["B.b>=1", 'windows; sys_platform == "win32"', 'c; extra == "more"'],
        "b-b": ["a", "d[fast]"],
        "d": ['e; extra == "fast"', 'f; extra == "slow"'],
    }
    found = {name for name in brought_by(["A"], lambda name: known.get(name, [])) if "[" not in name}
    assert found == {"a", "b-b", "d", "e"}
    assert "c" in brought_by(["a[more]"], lambda name: known.get(name, []))


@pytest.mark.parametrize(
    ("dependencies", "settings", "told"),
    [
        ([], {}, "mine/code.py imports yaml, which its dependencies lack: add pyyaml to them in pyproject.toml"),
        (["PyYAML>=6"], {}, None),
        (["other"], {}, None),
        (['pyyaml; extra == "fast"'], {}, None),
        (['pyyaml; extra == "dev"'], {}, "mine/code.py imports yaml, which its dependencies lack: add pyyaml"),
        ([], {"tunemv3d-release": {"optional-imports": ["yaml"]}}, None),
    ],
    ids=["lacking", "stated", "brought", "extra", "developers", "optional"],
)
def test_a_module_is_named_where_no_dependency_brings_it(
    dependencies: list[str], settings: dict[str, Any], told: str | None, tmp_path: Path
) -> None:
    """A module may have another name than its distribution; its own and Python's are there."""
    with zipfile.ZipFile(tmp_path / "mine.whl", "w") as wheel:
        wheel.writestr("mine/code.py", "import json, mine.other, yaml")
        wheel.writestr("mine/__init__.py", "")
        wheel.writestr("mine/tuned/pipeline.py", "import a_folder_of_data")
    project = Project(tmp_path, {"project": {"name": "mine", "version": "1"}, "tool": settings})
    together = {"mine": dependencies, "other": ["pyyaml"]}
    errors = list(import_errors(Built(project, tmp_path / "mine.whl", tmp_path), together))
    assert [error.startswith(told or " ") for error in errors] == ([True] if told else [])
