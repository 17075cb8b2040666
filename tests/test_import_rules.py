"""Who may import whom, and what may not be imported at all when a package is merely looked at."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tunemv3d_core.plugins.descriptor import FIRST_PARTY

ROOT = Path(__file__).parents[1]
SOURCES = {path.name: path for path in [*ROOT.glob("tunemv3d_*/src/*"), *ROOT.glob("plugins/*/src/*")] if path.is_dir()}
LIGHT = ("plugin", "commands_plugin", "spec")


def imported(path: Path) -> set[str]:
    """Top-level packages that any module below a folder imports."""
    found = set()
    for file in path.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    return found


def test_all_packages_are_seen() -> None:
    assert {"tunemv3d_core", "tunemv3d_neus", "tunemv3d_modulation", "tunemv3d_train", "tunemv3d_mini"} <= set(SOURCES)


@pytest.mark.parametrize("package", sorted(SOURCES))
def test_packages_import_core_and_no_other(package: str) -> None:
    allowed = {package} | ({"tunemv3d_core"} if package != "tunemv3d_core" else set())
    assert {name for name in imported(SOURCES[package]) if name.startswith("tunemv3d")} <= allowed


@pytest.mark.parametrize("package", sorted(SOURCES))
def test_looking_at_a_package_imports_no_torch(package: str) -> None:
    modules = [
        package,
        *(f"{package}.{name}" for name in LIGHT if (SOURCES[package] / f"{name}.py").is_file()),
    ]
    heavy = "('torch', 'diffusers', 'transformers')"
    code = f"import sys, {', '.join(modules)}; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"


def test_the_metapackages_distributions_own_their_names() -> None:
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert FIRST_PARTY == tuple(dependency.partition("==")[0] for dependency in dependencies)


def test_one_version_for_all() -> None:
    files = [ROOT / "pyproject.toml", *ROOT.glob("tunemv3d_*/pyproject.toml"), *ROOT.glob("plugins/*/pyproject.toml")]
    projects = [tomllib.loads(file.read_text())["project"] for file in files]
    versions = {project["version"] for project in projects}
    assert len(versions) == 1
    pinned = {d for p in projects for d in p["dependencies"] if d.startswith("tunemv3d")}
    assert all(d.endswith(f"=={next(iter(versions))}") for d in pinned)
