"""Imports of a wheel's modules, compared with what its dependencies bring."""

import ast
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib import metadata
from pathlib import PurePosixPath

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tunemv3d_release.build import Built


def import_errors(built: Built, together: dict[str, list[str]]) -> Iterator[str]:
    """Yield each module that a wheel imports and that none of its dependencies brings, extras but ``dev`` included.

    Not asked are imports under ``try`` with ``except ImportError``, those for type checkers alone, and those that the
    project calls optional: ``optional-imports`` in its table ``[tool.tunemv3d-release]``. A dependency brings what it
    requires itself, as pip would install it.

    Args:
        built: whose wheel is read.
        together: requirements by name of the distributions that are released together.
    """
    stated = [each for each in together[built.project.name] if not _of_developers(Requirement(each))]
    brought = brought_by(stated, lambda name: together.get(name) or required_by(name))
    with zipfile.ZipFile(built.wheel) as wheel:
        names = {name for name in wheel.namelist() if name.endswith(".py")}
        files = {name: wheel.read(name) for name in names if not _is_data(name, names)}
    settings = built.project.pyproject.get("tool", {}).get("tunemv3d-release", {})
    left_out = {name.partition("/")[0].removesuffix(".py") for name in files} | sys.stdlib_module_names
    left_out |= set(settings.get("optional-imports", ()))
    places: dict[str, str] = {}
    for name, text in sorted(files.items()):
        for module in imported(text):
            places.setdefault(module, name)
    for module, place in sorted(places.items()):
        known = owners().get(module, {canonicalize_name(module)})
        if module not in left_out and not known & brought:
            yield f"{place} imports {module}, which its dependencies lack: add {min(known)} to them in pyproject.toml"


def _is_data(name: str, names: set[str]) -> bool:
    """Tell whether a file lies in a package's folder that is none itself, as an exported model's ``pipeline.py``."""
    folder, *above = PurePosixPath(name).parents
    return f"{folder}/__init__.py" not in names and any(f"{each}/__init__.py" in names for each in above)


def imported(text: bytes) -> set[str]:
    """Return the outermost packages that a module imports and cannot do without."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return set()
    found = set()
    left: list[ast.AST] = [tree]
    while left:
        node = left.pop()
        if isinstance(node, ast.Import):
            found |= {each.name.partition(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module.partition(".")[0])
        left += _needed(node)
    return found


def _needed(node: ast.AST) -> Iterable[ast.AST]:
    """Return the parts of a node that run whatever is installed."""
    if isinstance(node, ast.Try) and any("ImportError" in _names(each) for each in node.handlers):
        return [*node.handlers, *node.finalbody]
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return node.orelse
    return ast.iter_child_nodes(node)


def _names(handler: ast.ExceptHandler) -> str:
    """Return what a handler catches; ModuleNotFoundError is an ImportError, and a bare one catches both."""
    return "ImportError" if handler.type is None else ast.unparse(handler.type).replace("ModuleNotFound", "Import")


def brought_by(requirements: Iterable[str], of: Callable[[str], list[str]]) -> set[str]:
    """Return the distributions that requirements stand for, with all that those require in turn.

    Args:
        requirements: as metadata states them; those under any extra count.
        of: returns the requirements of a distribution by its normalised name.
    """
    brought = set[str]()
    left = [Requirement(each) for each in requirements]
    while left:
        requirement = left.pop()
        name = canonicalize_name(requirement.name)
        asked = {f"{name}[{extra}]" for extra in requirement.extras} | {name}
        if asked <= brought:
            continue
        brought |= asked
        for each in map(Requirement, of(name)):
            if each.marker is None or any(each.marker.evaluate({"extra": e}) for e in ("", *requirement.extras)):
                left.append(each)
    return brought


def _of_developers(requirement: Requirement) -> bool:
    """Tell whether the extra ``dev``, as ``plugins new`` writes it, asks for a distribution, and nothing else does."""
    marker = requirement.marker
    return marker is not None and marker.evaluate({"extra": "dev"}) and not marker.evaluate({"extra": ""})


@cache
def required_by(distribution: str) -> list[str]:
    """Return what an installed distribution requires; nothing where it is not installed."""
    try:
        return list(metadata.requires(distribution) or ())
    except metadata.PackageNotFoundError:
        return []


@cache
def owners() -> dict[str, set[str]]:
    """Return the installed distributions by the outermost packages that they hold.

    Editable ones list no files; their plugins' entry points name the package.
    """
    listed = metadata.packages_distributions()
    found: dict[str, set[str]] = {module: {*map(canonicalize_name, names)} for module, names in listed.items()}
    for distribution in metadata.distributions():
        for point in distribution.entry_points:
            if point.group.startswith("tunemv3d."):
                module = point.value.partition(":")[0].partition(".")[0]
                found.setdefault(module, set()).add(canonicalize_name(distribution.name))
    return found
