"""A release of everything: it builds, nothing is to mend, and what was built works without the repository."""

import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tunemv3d_core.io.code_hash import code_hash
from tunemv3d_core.plugins.registry import registry
from tunemv3d_release.build import read_project
from tunemv3d_release.make import Released, make_release

ROOT = Path(__file__).parents[1]
FOLDERS = [ROOT, *sorted(ROOT.glob("tunemv3d_*")), *sorted(ROOT.glob("plugins/*"))]


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> list[Released]:
    """As ``make release-dry-run`` does it, but kept for the tests below."""
    return make_release(
        [read_project(folder) for folder in FOLDERS], tmp_path_factory.mktemp("dist"), rehearsal=True, kit=False
    )


@pytest.mark.slow
def test_there_are_no_errors(released: list[Released]) -> None:
    assert {each.name: each.errors for each in released} == {read_project(folder).name: () for folder in FOLDERS}
    assert all(len(each.files) == 2 for each in released)


@pytest.mark.slow
def test_readmes_lead_nowhere_relative(released: list[Released]) -> None:
    """As an index renders them: there is no repository beside the page."""
    from test_readme import rendered

    for each in released:
        with zipfile.ZipFile(next(file for file in each.files if file.suffix == ".whl")) as wheel:
            metadata = wheel.read(next(name for name in wheel.namelist() if name.endswith("/METADATA")))
        page = rendered(metadata.decode().partition("\n\n")[2])
        targets = [tag.get("href") or tag.get("src") for tag in page.select("a[href], img[src]")]
        assert [target for target in targets if not re.match(r"https?://|#", target)] == [], each.name


@pytest.mark.slow
def test_wheels_work_on_their_own(released: list[Released], tmp_path: Path) -> None:
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(target)]
    wheels = [str(file) for each in released for file in each.files if file.suffix == ".whl"]
    subprocess.run([*install, *wheels], check=True, capture_output=True)
    code = """
import tunemv3d_core
from tunemv3d_core.plugins.assets import find_asset
from tunemv3d_core.io.code_hash import code_hash
from tunemv3d_core.plugins.registry import registry
from tunemv3d_core.config.loading import load_spec
print(tunemv3d_core.__file__)
print(find_asset("sd-mini"), find_asset("chairs"))
print(load_spec("chairs-mini").name)
print([code_hash(registry().get("field", "neus")), code_hash(registry().get("backbone", "diffusers"))])
"""
    environment = {**os.environ, "PYTHONPATH": str(target)}
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    shutil.rmtree(target)
    assert result.returncode == 0, result.stderr
    first, assets, name, hashes = result.stdout.strip().splitlines()
    assert first.startswith(str(target)) and assets.count(str(target)) == 2 and name == "chairs-mini"
    editable = [code_hash(registry().get(*part)) for part in (("field", "neus"), ("backbone", "diffusers"))]
    assert hashes == str(editable), "a wheel and an editable install of the same code have one hash"


def own_pins(project: dict[str, Any]) -> list[str]:
    """What a distribution asks for of this repository, by extras too."""
    asked = [project["dependencies"], *project.get("optional-dependencies", {}).values()]
    return [each for several in asked for each in several if each.startswith("tunemv3d")]


def test_the_metapackage_brings_everything_by_itself_or_by_an_extra() -> None:
    brought = {pin.partition("==")[0] for pin in own_pins(read_project(ROOT).metadata)}
    assert brought == {read_project(folder).name for folder in FOLDERS[1:]}


def test_one_command_sets_the_version_everywhere(tmp_path: Path) -> None:
    files = [folder.relative_to(ROOT) / "pyproject.toml" for folder in FOLDERS]
    files += [Path("CITATION.cff")]
    files += [file.relative_to(ROOT) for folder in FOLDERS[1:] for file in folder.glob("src/*/__init__.py")]
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    set_version = runpy.run_path(str(ROOT / "release/set_version.py"))["set_version"]
    assert len(set_version(tmp_path, "7.8.9")) == len(files)
    old = read_project(ROOT).version
    for file in files:
        before, after = ((root / file).read_text().splitlines() for root in (ROOT, tmp_path))
        changed = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
        assert changed and all(b == a.replace(old, "7.8.9") for a, b in changed)
    projects = [tomllib.loads((tmp_path / f).read_text())["project"] for f in files if f.name == "pyproject.toml"]
    pins = {pin.partition("==")[2] for project in projects for pin in own_pins(project)}
    assert {p["version"] for p in projects} == pins == {"7.8.9"}
    with pytest.raises(SystemExit, match=r"'7\.8' is no version"):
        set_version(tmp_path, "7.8")


def test_the_procedure_names_commands_that_exist() -> None:
    told = (ROOT / "RELEASING.md").read_text()
    targets = re.findall(r"^ +make (\S+)", told, re.MULTILINE)
    assert "release-dry-run" in targets and "release" in targets
    for target in targets:
        planned = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
        assert planned.returncode == 0
        if target.startswith("release"):
            (line,) = (line for line in planned.stdout.splitlines() if "plugins release" in line)
            named = {word for word in line.partition("plugins release ")[2].split() if not word.startswith("-")}
            assert "." in named
            assert {path for pattern in named - {"."} for path in ROOT.glob(pattern)} == set(FOLDERS[1:])
            assert ("--dry-run" in line) == (target == "release-dry-run")
    assert "python release/set_version.py" in told
