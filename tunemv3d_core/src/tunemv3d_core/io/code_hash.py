"""Hashes of the code that a component is built from, read from files: nothing is imported, and a wheel and an editable
install of the same code have the same hash.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tunemv3d_core.plugins.registry import Component


def code_hash(component: Component) -> str:
    """Return the SHA-256 over names and contents of the Python files of its package that its ``build`` reaches.

    These are the module of ``build``, what that imports of its package, and so on, wherever in a file the import
    stands. A module that is imported by a name made at run time is not seen. The descriptor is none of them unless the
    code imports it: who ships a checkpoint of a component with it adds the asset there.
    """
    module = component.plugin.build.partition(":")[0].strip()
    package = _package(module)
    return _digest([] if package is None else _named(package, _reached(module, package)))


def package_hash(component: Component) -> str:
    """Return the SHA-256 over all Python files of the packages that its ``build`` and its descriptor lie in.

    Older checkpoints hold this one.
    """
    modules = {value.partition(":")[0].strip() for value in (component.record.value, component.plugin.build)}
    packages = {package for package in map(_package, modules) if package is not None}
    ordered = sorted(packages, key=lambda package: package.path.name)
    return _digest(line for package in ordered for line in _named(package, package.files()))


@dataclass(frozen=True)
class _Package:
    """The outermost package around a module that is no namespace package; ``path`` is a file if it is one module."""

    name: str
    path: Path

    def files(self) -> Iterable[Path]:
        return self.path.rglob("*.py") if self.path.is_dir() else [self.path]

    def file(self, module: str) -> Path | None:
        """Return the file of a module, None if it is none of this package."""
        if module == self.name:
            found = [self.path / "__init__.py", self.path]
        elif module.startswith(f"{self.name}."):
            place = self.path.joinpath(*module.removeprefix(f"{self.name}.").split("."))
            found = [place / "__init__.py", place.with_name(f"{place.name}.py")]
        else:
            found = []
        return next((file for file in found if file.is_file()), None)


def _package(module: str) -> _Package | None:
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        name = ".".join(parts[:end])
        found = find_spec(name)
        if found is None:
            return None
        if found.origin is not None:
            path = Path(found.origin)
            package = _Package(name, path.parent if found.submodule_search_locations else path)
            return package if package.path.exists() else None
    return None


def _reached(module: str, package: _Package) -> set[Path]:
    """Return the files of a package that importing a module may execute, the packages around it included."""
    reached, left = set[Path](), {module}
    while left:
        name = left.pop()
        file = package.file(name)
        if file is not None and file not in reached:
            reached.add(file)
            left |= {*_imports(file, name), name.rpartition(".")[0]}
    return reached


def _imports(file: Path, module: str) -> Iterator[str]:
    """Yield what may be modules among the names that a file imports."""
    around = module.split(".") if file.name == "__init__.py" else module.split(".")[:-1]
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = around[: len(around) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{each.name}" for each in node.names)


def _named(package: _Package, files: Iterable[Path]) -> list[str]:
    """Return a line of place and hash for each file of a package, in order."""
    named = sorted((file.relative_to(package.path.parent).as_posix(), file) for file in files)
    return [f"{name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n" for name, file in named]


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("".join(lines).encode()).hexdigest()
