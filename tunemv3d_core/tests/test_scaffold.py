"""What ``tunemv3d plugins new`` writes and refuses. Whether it works is asked in tests/test_new_plugins.py."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from fake_distributions import FakeSite

from tunemv3d_core import __version__
from tunemv3d_core.cli.main import app
from tunemv3d_core.console import run
from tunemv3d_core.plugins.descriptor import COMPONENT_SLOTS
from tunemv3d_core.plugins.descriptor import SLOTS as ALL
from tunemv3d_core.scaffold.write import SLOTS, write_package

LONG = "cross_view_attention"


def code_lines(file: Path) -> int:
    return len(file.read_text(encoding="utf-8").splitlines())


NEEDED = {"mesh_renderer": "tunemv3d-data", "spec": "tunemv3d"}
"""What packages of some slots cannot do without; those of the others need core alone."""


def test_every_slot_has_a_template() -> None:
    assert set(ALL) == set(SLOTS)


@pytest.mark.parametrize("slot", SLOTS)
def test_a_package_is_complete(slot: str, tmp_path: Path) -> None:
    written = write_package(slot, "my_part", tmp_path / "a/b")
    found = {str(file.relative_to(tmp_path / "a/b")) for file in (tmp_path / "a/b").rglob("*") if file.is_file()}
    assert found == {str(file) for file in written}
    assert {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", ".github/workflows/test.yml"} <= found
    assert {f"src/my_part/{name}" for name in ("__init__.py", "plugin.py", "py.typed")} <= found
    assert {"spec": "src/my_part/my_part.json", "asset": "src/my_part/assets/my_part/README.md"}.get(
        slot, f"src/my_part/{slot}.py"
    ) in found
    assert (slot in COMPONENT_SLOTS) == ("src/my_part/spec.py" in found) == ("tests/test_conformance.py" in found)
    project = tomllib.loads((tmp_path / "a/b/pyproject.toml").read_text())["project"]
    assert project["entry-points"][f"tunemv3d.{slot}"] == {"my_part": "my_part.plugin:PLUGIN"}
    assert project["dependencies"] == [f"{NEEDED.get(slot, 'tunemv3d-core')}>={__version__}"]
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and [
        path.name for path in (tmp_path / "a").iterdir()
    ] == ["b"]
    assert not [file for file in found if "$" in file]


def test_a_field_is_short(tmp_path: Path) -> None:
    write_package("field", "my_field", tmp_path / "my_field")
    assert code_lines(tmp_path / "my_field/src/my_field/field.py") <= 60


@pytest.mark.parametrize("name", ["x", LONG])
def test_what_is_written_is_formatted_and_linted_whatever_its_name(name: str, tmp_path: Path) -> None:
    ruff = str(Path(sys.executable).parent / "ruff")
    for slot in SLOTS:
        write_package(slot, name, tmp_path / slot)
        for words in (["format", "--check", "."], ["check", "."]):
            done = subprocess.run([ruff, *words], cwd=tmp_path / slot, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout


def new(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What is said on standard error of a command that refuses."""
    with pytest.raises(SystemExit) as caught:
        run(app, ["plugins", "new", *arguments])
    told = capsys.readouterr()
    assert caught.value.code == 2 and told.out == "" and told.err.startswith("error: ") and "Traceback" not in told.err
    return told.err


@pytest.mark.parametrize(
    "name", ["my-field", "3d", "class", "My_Field", "", "_x", "feld_ü", "a.b", "../up", "a__b", "x_"]
)
def test_a_name_that_is_no_packages(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"'{name}' cannot be the name of a Python package" in new(capsys, "field", name)
    assert not list(tmp_path.iterdir())


def test_what_is_taken_or_unknown(
    site: FakeSite, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    site.component("field", "cloud", "fake-cloud")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert "the field 'cloud' is installed already, by fake-cloud; choose another" in new(capsys, "field", "cloud")
    assert "a Python package 'torch' is installed already" in new(capsys, "field", "torch")
    assert "a Python package 'json' is installed already" in new(capsys, "field", "json")
    told = new(capsys, "feild", "mine")
    assert "no template for 'feild'. Did you mean 'field'? There are: aggregator, asset, backbone, command" in told
    assert not list(Path().iterdir())


def test_a_folder_that_is_there_or_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    assert "mine exists already; choose another folder with --out" in new(capsys, "field", "mine")
    assert list(Path("mine").iterdir()) == []
    Path("file").write_text("x", encoding="utf-8")
    assert "cannot be written" in new(capsys, "field", "other", "--out", "file/other")
    assert sorted(os.listdir()) == ["file", "mine"]
