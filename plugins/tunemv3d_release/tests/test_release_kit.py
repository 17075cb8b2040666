"""The conformance kit is asked of the wheel, not of the sources that lie beside the tests."""

from pathlib import Path

import pytest
from test_release_errors import edit

from tunemv3d_core.scaffold.write import write_package
from tunemv3d_release import kit
from tunemv3d_release.build import Built, Project, build, read_project
from tunemv3d_release.installed import install
from tunemv3d_release.kit import asked_by, kit_errors


def test_the_tests_that_ask_are_found_by_what_they_say(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text(
        "@testing.parametrize_with_checks(name='two', slot='field')\ndef test(check): check()\n"
        "for name in NAMES:\n    parametrize_with_checks('field', name, {})\n"
    )
    (tmp_path / "test_torn.py").write_text("def (")
    assert asked_by(tmp_path) == {
        ("field", "two"): {tmp_path / "test_a.py"},
        ("field", ""): {tmp_path / "test_a.py"},
    }


@pytest.mark.slow
def test_tests_that_do_not_end_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project(
        tmp_path, {"project": {"name": "x", "version": "1", "entry-points": {"tunemv3d.loss": {"mine": "x:PLUGIN"}}}}
    )
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_it.py").write_text(
        "parametrize_with_checks = print\nparametrize_with_checks('loss', 'mine')\nimport time\ntime.sleep(60)\n"
    )
    monkeypatch.setattr(kit, "PATIENCE", 1.0)
    errors = list(kit_errors(Built(project, tmp_path, tmp_path), tmp_path))
    assert errors == ["kit: the tests did not end within 1 s"]


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
    (folder / "my_reader.py").write_text("raise RuntimeError('a file where the tests are run')")
    edit(target / "my_reader/dataset.py", "2 * images[None] - 1", "images[None]")
    errors = list(kit_errors(built, target))
    assert any(error.startswith("kit: tests/test_conformance.py::test_conformance[pictures] - ") for error in errors)
