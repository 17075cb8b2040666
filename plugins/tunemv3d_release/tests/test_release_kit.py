"""The conformance kit is asked of the wheel, not of the sources that lie beside the tests."""

from pathlib import Path

import pytest
from test_release_errors import edit

from tunemv3d_core.scaffold.write import write_package
from tunemv3d_release.build import build, read_project
from tunemv3d_release.installed import install
from tunemv3d_release.kit import asked_by, kit_errors


@pytest.mark.slow
def test_a_wheel_is_asked_what_its_projects_tests_ask(tmp_path: Path) -> None:
    folder, out, target = (tmp_path / name for name in ("mine", "dist", "site"))
    write_package("dataset", "my_reader", folder)
    out.mkdir()
    built = build(read_project(folder), out)
    install([built], target)
    with (folder / "pyproject.toml").open("a") as toml:
        toml.write('\n[tool.pytest.ini_options]\npythonpath = ["src"]\n')
    assert asked_by(folder / "tests") == {("dataset", "my_reader"): {folder / "tests/test_conformance.py"}}
    edit(target / "my_reader/dataset.py", "return Views(2 *", "return Views(1 *")
    (error,) = kit_errors(built, target)
    assert error.startswith("kit: tests/test_conformance.py::test_conformance[pictures] - ")
