"""Who may import whom, and what may not be imported at all when a package is merely looked at."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tunemv3d_core.plugins.descriptor import FIRST_PARTY, OURS

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


def modules_of(package: str) -> dict[str, Path]:
    """Files of a package's modules by dotted name; a folder's ``__init__.py`` has the folder's name."""
    files = sorted(SOURCES[package].rglob("*.py"))
    dotted = [".".join((package, *file.relative_to(SOURCES[package]).with_suffix("").parts)) for file in files]
    return {name.removesuffix(".__init__"): file for name, file in zip(dotted, files, strict=True)}


def named(node: ast.AST, module: str) -> Iterator[str]:
    """Dotted names that a node imports, or may: strings such as "package.module:function" count as imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        parts = module.split(".")[: -node.level or None]
        base = ".".join((*(parts if node.level else ()), *([node.module] if node.module else ())))
        yield from (f"{base}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        if re.fullmatch(r"\w+(\.\w+)+(:\w+)?", node.value):
            yield node.value.replace(":", ".")
    elif isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
        # f"package.folder.{name}" may be any module of the folder.
        yield str(node.values[0].value) + "*"


def import_graph(package: str) -> dict[str, set[str]]:
    """Modules of the package that each of its modules names: at any depth, for type checking only, or as a string."""
    files = modules_of(package)
    graph: dict[str, set[str]] = {module: set() for module in files}
    for module, file in files.items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            for name in named(node, module):
                if name.endswith(".*"):
                    graph[module] |= {other for other in files if other.startswith(name[:-1])}
                while name.startswith(f"{package}.") and name not in files:
                    name = name.rpartition(".")[0]
                graph[module] |= {name} & files.keys()
        graph[module].discard(module)
    return graph


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Sets of nodes that all lead to each other (strongly connected components of at least two)."""
    reached: dict[str, set[str]] = {}
    for start in graph:
        seen, waiting = set(), [start]
        while waiting:
            fresh = graph[waiting.pop()] - seen
            seen |= fresh
            waiting += fresh
        reached[start] = seen
    knots = {frozenset(other for other in reached[node] if node in reached[other]) for node in graph}
    return sorted((set(knot) for knot in knots if knot), key=sorted)


def folder_graph(package: str) -> dict[str, set[str]]:
    """The import graph with every folder of the package as one node; modules outside of folders stay their own."""
    graph = import_graph(package)
    folders = {module: ".".join(module.split(".")[:2]) for module in graph}
    found: dict[str, set[str]] = {folder: set() for folder in folders.values()}
    for module, others in graph.items():
        found[folders[module]] |= {folders[other] for other in others} - {folders[module]}
    return found


def test_circles_are_found_however_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {
        "__init__": "",
        "a/__init__": "",
        "a/one": "if TYPE_CHECKING:\n    from fake.b.two import thing\n",
        "b/__init__": "",
        "b/two": "def late():\n    import fake.c\n",
        "c": "PLUGIN = dict(build='fake.d:build')\n",
        "d": "def layouts(name):\n    return import_module(f'fake.a.{name}')\n",
        "e": "from fake import d\nfrom .a import one\n",
    }
    for name, text in texts.items():
        (tmp_path / "fake" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fake" / f"{name}.py").write_text(text)
    monkeypatch.setitem(SOURCES, "fake", tmp_path / "fake")
    assert circles(import_graph("fake")) == [{"fake.a.one", "fake.b.two", "fake.c", "fake.d"}]
    assert import_graph("fake")["fake.e"] == {"fake.d", "fake.a.one"}
    assert circles(folder_graph("fake")) == [{"fake.a", "fake.b", "fake.c", "fake.d"}]
    (tmp_path / "fake" / "d.py").write_text("'fake.e is only mentioned'")
    assert circles(import_graph("fake")) == []


@pytest.mark.parametrize("package", sorted(SOURCES))
def test_modules_import_each_other_in_no_circle(package: str) -> None:
    assert circles(import_graph(package)) == []


def test_folders_of_data_import_each_other_in_no_circle() -> None:
    assert circles(folder_graph("tunemv3d_data")) == []


def test_the_metapackages_distributions_own_their_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    brought = [*project["dependencies"], *project["optional-dependencies"]["release"]]
    assert FIRST_PARTY == tuple(pin.partition("==")[0] for pin in brought)


def test_all_distributions_of_the_repository_may_be_recommended_and_no_others() -> None:
    files = [ROOT / "pyproject.toml", *ROOT.glob("tunemv3d_*/pyproject.toml"), *ROOT.glob("plugins/*/pyproject.toml")]
    assert set(OURS) == {tomllib.loads(file.read_text())["project"]["name"] for file in files}


def test_one_version_for_all() -> None:
    files = [ROOT / "pyproject.toml", *ROOT.glob("tunemv3d_*/pyproject.toml"), *ROOT.glob("plugins/*/pyproject.toml")]
    projects = [tomllib.loads(file.read_text())["project"] for file in files]
    versions = {project["version"] for project in projects}
    assert len(versions) == 1
    pinned = {d for p in projects for d in p["dependencies"] if d.startswith("tunemv3d")}
    assert all(d.endswith(f"=={next(iter(versions))}") for d in pinned)
