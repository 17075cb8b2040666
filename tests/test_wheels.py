"""Every distribution builds a wheel that holds what it needs and works without the repository."""

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tunemv3d_core.provenance import code_hash
from tunemv3d_core.registry import registry

ROOT = Path(__file__).parents[1]
FOLDERS = [*sorted(ROOT.glob("tunemv3d_*")), *sorted(ROOT.glob("plugins/*")), ROOT]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheels")
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(out)]
    result = subprocess.run([*build, *map(str, FOLDERS)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return out


@pytest.mark.slow
def test_wheels_hold_types_and_entry_points(wheels: Path) -> None:
    assert len(list(wheels.glob("*.whl"))) == len(FOLDERS)
    for folder in FOLDERS[:-1]:
        project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        (wheel,) = wheels.glob(f"{folder.name}-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            names = archive.namelist()
            assert f"{folder.name}/py.typed" in names
            assert not [name for name in names if "/tests/" in name or "recipe" in name]
            if "entry-points" in project:
                (points,) = (name for name in names if name.endswith("entry_points.txt"))
                text = archive.read(points).decode()
                assert all(f"[{group}]" in text for group in project["entry-points"])


@pytest.mark.slow
def test_wheels_work_on_their_own(wheels: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*install, *map(str, wheels.glob("*.whl"))], check=True, capture_output=True)
    code = """
import tunemv3d_core
from tunemv3d_core.assets import find_asset
from tunemv3d_core.provenance import code_hash
from tunemv3d_core.registry import registry
from tunemv3d_core.spec import load_spec
print(tunemv3d_core.__file__)
print(find_asset("sd-mini"), find_asset("chairs"))
print(load_spec("chairs-mini").name)
print([code_hash(registry().get("field", "neus")), code_hash(registry().get("backbone", "diffusers"))])
"""
    environment = {**os.environ, "PYTHONPATH": str(target)}
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    first, assets, name, hashes = result.stdout.strip().splitlines()
    assert first.startswith(str(target)) and assets.count(str(target)) == 2 and name == "chairs-mini"
    editable = [code_hash(registry().get(*part)) for part in (("field", "neus"), ("backbone", "diffusers"))]
    assert hashes == str(editable), "a wheel and an editable install of the same code have one hash"
