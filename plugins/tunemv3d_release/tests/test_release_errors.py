"""Packages that are broken on purpose, one error each: a release names it, and no other."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tunemv3d_core import __version__
from tunemv3d_core.cli.main import app
from tunemv3d_core.console import run
from tunemv3d_core.io.checkpoint import CHECKPOINT_FORMAT, write_record
from tunemv3d_core.io.provenance import sha256
from tunemv3d_core.scaffold.write import write_package
from tunemv3d_release.build import read_project
from tunemv3d_release.make import make_release


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def without_section(folder: Path) -> None:
    edit(folder / "CHANGELOG.md", "## 0.1.0", "## 0.1.00")


def without_readme(folder: Path) -> None:
    edit(folder / "pyproject.toml", 'readme = "README.md"\n', "")


def without_types(folder: Path) -> None:
    next(folder.rglob("py.typed")).unlink()


def without_licence(folder: Path) -> None:
    edit(folder / "pyproject.toml", 'license-files = ["LICENSE"]', "license-files = []")


def with_a_file_left_out(folder: Path) -> None:
    (folder / f"src/{folder.name}/extra.py").write_text("")
    edit(
        folder / "pyproject.toml",
        "[tool.hatch.build.targets.wheel]\n",
        '[tool.hatch.build]\nexclude = ["extra.py"]\n\n[tool.hatch.build.targets.wheel]\n',
    )


def with_a_broken_entry_point(folder: Path) -> None:
    edit(folder / "pyproject.toml", ":PLUGIN", ":PLUGINS")


def with_an_unknown_licence(folder: Path) -> None:
    edit(folder / "pyproject.toml", "Apache-2.0", "Apache-77")


def with_a_readme_that_is_not_there(folder: Path) -> None:
    edit(folder / "pyproject.toml", "README.md", "GONE.md")


def with_a_readme_that_does_not_render(folder: Path) -> None:
    edit(folder / "pyproject.toml", "README.md", "README.rst")
    (folder / "README.rst").write_text("Title\n=====\n\n.. table:: no such thing\n   :wrong: 1\n")


def with_a_file_from_elsewhere(folder: Path) -> None:
    edit(
        folder / "pyproject.toml",
        "[tool.ruff]\n",
        f'[tool.hatch.build.targets.wheel.force-include]\n"README.md" = "{folder.name}/NOTES.md"\n\n[tool.ruff]\n',
    )


def without_summary(folder: Path) -> None:
    edit(folder / "pyproject.toml", 'description = "A command"\n', "")


def with_another_pin(folder: Path) -> None:
    edit(folder / "pyproject.toml", "dependencies = [", 'dependencies = ["good==0.0.3", ')


def with_an_import_that_nothing_brings(folder: Path) -> None:
    edit(folder / f"src/{folder.name}/command.py", "import typer\n", "import pytest\nimport typer\n")


def with_another_function(folder: Path) -> None:
    edit(folder / f"src/{folder.name}/command.py", f"def {folder.name}(", "def other(")


def register(folder: Path, slot: str, content: str = "") -> None:
    """Give a package a packaged file beside its command; a JSON file, or a folder where there is no content."""
    name = "mine.json" if content else "mine"
    with (folder / "pyproject.toml").open("a") as toml:
        toml.write(f'\n[project.entry-points."tunemv3d.{slot}"]\n{folder.name} = "{folder.name}.plugin:MINE"\n')
    with (folder / f"src/{folder.name}/plugin.py").open("a") as plugin:
        plugin.write(f'\nfrom pathlib import Path\n\nMINE = Path(__file__).parent / "{name}"\n')
    if content:
        (folder / f"src/{folder.name}/{name}").write_text(content)
    else:
        (folder / f"src/{folder.name}/{name}").mkdir()


def with_a_spec_of_unknown_options(folder: Path) -> None:
    register(folder, "spec", '{"extends": "chairs-mini", "model": {"field": {"hiden": 3}}}')


def with_a_spec_that_is_no_json(folder: Path) -> None:
    register(folder, "spec", '{"extends": ')


def with_a_checkpoint_of_other_code(folder: Path) -> None:
    register(folder, "asset")
    entry = {"slot": "field", "type": "neus", "distribution": "tunemv3d-neus", "version": __version__, "code": "0" * 64}
    checkpoint = folder / f"src/{folder.name}/mine"
    for name in ("spec.json", "model.safetensors"):
        (checkpoint / name).write_text(name)
    files = {name: sha256(checkpoint / name) for name in ("spec.json", "model.safetensors")}
    write_record(
        checkpoint,
        {"format": CHECKPOINT_FORMAT, "spec_id": "", "components": {"field": entry}, "frozen": {}, "files": files},
    )


def with_a_reader_that_no_test_asks(folder: Path) -> None:
    shutil.rmtree(folder)
    write_package("dataset", folder.name, folder)
    shutil.rmtree(folder / "tests")


def as_it_is(folder: Path) -> None:
    pass


ERRORS: dict[Callable[[Path], None], str] = {
    as_it_is: "",
    without_section: "CHANGELOG.md has no section on 0.1.0: add '## 0.1.0 (date)'",
    without_readme: "twine check: `long_description_content_type` missing.",
    without_types: "no {0}/py.typed: add the empty file",
    without_licence: "the wheel holds no licence text: put LICENSE beside pyproject.toml",
    with_a_file_left_out: "W101: Wheel library is missing files in package tree: {0}/extra.py",
    with_a_broken_entry_point: "command {0} ({1} 0.1.0): '{0}.plugin:PLUGINS' does not load: AttributeError",
    with_an_unknown_licence: "pyproject.toml: `project.license` must be",
    with_a_readme_that_is_not_there: "does not build: ",
    with_a_readme_that_does_not_render: "twine check: `long_description` has syntax errors in markup",
    with_a_file_from_elsewhere: "W102: Wheel library contains files not in package tree: {0}/NOTES.md",
    without_summary: "metadata: no description; state it in pyproject.toml",
    with_another_pin: "needs good==0.0.3, but 0.1.0 is released with it",
    with_an_import_that_nothing_brings: "{0}/command.py imports pytest, which its dependencies lack: add pytest",
    with_another_function: "command {0} ({1} 0.1.0): '{0}.command:{0}' does not load: AttributeError",
    with_a_spec_of_unknown_options: "spec {0} ({1} 0.1.0): {1}:{0}: model.field.hiden: unknown",
    with_a_spec_that_is_no_json: "spec {0} ({1} 0.1.0): {1}:{0}: line 1, column 13: not JSON",
    with_a_checkpoint_of_other_code: "asset {0} ({1} 0.1.0): saved with tunemv3d-neus==",
    with_a_reader_that_no_test_asks: "dataset {0}: no test asks the kit about it: add @parametrize_with_checks(",
}


@pytest.mark.slow
def test_each_error_is_named(tmp_path: Path) -> None:
    names = {spoil: "good" if spoil is as_it_is else spoil.__name__ for spoil in ERRORS}
    for spoil, name in names.items():
        write_package("command", name, tmp_path / name)
        spoil(tmp_path / name)
    out = tmp_path / "dist"
    out.mkdir()
    made = {each.name: each for each in make_release([read_project(tmp_path / n) for n in names.values()], out, True)}
    for spoil, expected in ERRORS.items():
        name = names[spoil]
        each = made[name.replace("_", "-")]
        if expected:
            assert len(each.errors) == 1 and each.errors[0].startswith(expected.format(name, each.name)), each.errors
        else:
            assert each.errors == ()
        assert len(each.files) == (0 if spoil in (with_an_unknown_licence, with_a_readme_that_is_not_there) else 2)


@pytest.mark.slow
def test_the_command_keeps_what_it_built_unless_it_is_a_dry_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def release(*arguments: str) -> Ended:
        with pytest.raises(SystemExit) as end:
            run(app, ["plugins", "release", *arguments])
        return Ended(int(end.value.code or 0), *capsys.readouterr())

    write_package("command", "mine", tmp_path / "mine")
    monkeypatch.chdir(tmp_path / "mine")
    dry = release("--dry-run", "--json")
    (row,) = json.loads(dry.out)
    assert dry.code == 0 and row["errors"] == [] and not (tmp_path / "mine/dist").exists()
    refused = release()
    assert refused.code == 1 and "unreleased" in refused.out and "twine" not in refused.out
    assert not (tmp_path / "mine/dist").exists(), "what is refused leaves nothing in the way of the next try"
    edit(tmp_path / "mine/CHANGELOG.md", "unreleased", "2027-01-31")
    dated = release()
    assert dated.code == 0 and "twine upload dist/*" in dated.out
    assert {file.suffix for file in (tmp_path / "mine/dist").iterdir()} == {".whl", ".gz"}
    again = release()
    assert again.code == 2 and "dist holds files of another release" in again.err


@pytest.mark.slow
def test_what_is_no_package_is_refused(tmp_path: Path) -> None:
    (tmp_path / "nameless").mkdir()
    (tmp_path / "nameless/pyproject.toml").write_text('[project]\nversion = "1.0"\n')
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn/pyproject.toml").write_text("[project")
    command = [sys.executable, "-c", "from tunemv3d_core.cli.main import main; main()", "plugins", "release"]
    for folder, message in {
        "none": "name the folder of a package",
        "nameless": "states no name",
        "torn": "not TOML",
    }.items():
        result = subprocess.run([*command, str(tmp_path / folder)], capture_output=True, text=True, cwd=tmp_path)
        assert result.returncode == 2 and message in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "dist").exists()
