"""The Python reference: a page for every module of the installed packages, by autodoc."""

import ast
import pkgutil
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pages.markdown import autodoc, page, prose, table, toctree
from pages.slots import ports, protocols
from tunemv3d_core.plugin import COMPONENT_SLOTS, SLOTS
from tunemv3d_core.registry import registry

ELSEWHERE = ("__main__", "cli", "commands", "in_blender")
"""Modules that are documented as commands, or run inside Blender's own Python."""


def pages() -> dict[str, str]:
    """A page for each module, and indexes."""
    texts = {}
    for package in packages():
        modules = public_modules(package)
        texts |= {f"reference/{module}.md": _module_page(module) for module in modules}
        rows = [[f"[{module}]({module}.md)", prose(_summary(module))] for module in modules[1:]]
        listed = table(["module", "what it holds"], rows)
        texts[f"reference/{package}.md"] = page(f"# {package}", prose(_summary(package)), listed, toctree(modules[1:]))
    return texts | {"reference/index.md": page(_INTRODUCTION, toctree(packages()))}


def packages() -> list[str]:
    """The import packages of all distributions that publish something for TuneMV3D, core first."""
    found = {re.split("[.:]", record.value)[0] for slot in SLOTS for record in registry().records(slot)}
    return sorted(found, key=lambda name: (name != "tunemv3d_core", name))


def public_modules(package: str) -> list[str]:
    """A package and its modules, but for private ones and those of ``ELSEWHERE``."""
    found, folders = [package], [(package, find_spec(package).submodule_search_locations)]  # type: ignore[union-attr]
    while folders:
        name, locations = folders.pop(0)
        for info in pkgutil.iter_modules(locations, f"{name}."):
            if (last := info.name.rpartition(".")[2]) in ELSEWHERE or last.startswith("_"):
                continue
            found.append(info.name)
            if info.ispkg:
                folders.append((info.name, find_spec(info.name).submodule_search_locations))  # type: ignore[union-attr]
    return [package, *sorted(found[1:])]


def _module_page(module: str) -> str:
    shown = [value for slot in COMPONENT_SLOTS for value in [*protocols(slot), ports(slot)] if value is not None]
    here = [value.__name__ for value in shown if value.__module__ == module]
    elsewhere = [f":exclude-members: {', '.join(here)}"] if here else []
    links = ", ".join(f"{{py:class}}`~{module}.{name}`" for name in here)
    return page(
        f"# {module}",
        autodoc("automodule", module, ":members:", ":show-inheritance:", *elsewhere),
        f"On the [slots' pages](../slots/index.md): {links}." if here else "",
    )


def _summary(module: str) -> str:
    """The first paragraph of a module's docstring; the module is not run."""
    origin = find_spec(module).origin  # type: ignore[union-attr]
    told = ast.get_docstring(ast.parse(Path(str(origin)).read_text(encoding="utf-8"))) or ""
    return told.partition("\n\n")[0]


def without_settings(app: Any, what: str, name: str, value: Any, skip: bool, options: Any) -> bool | None:
    """Leave pydantic's settings out; for ``autodoc-skip-member``."""
    return True if name == "model_config" else None


def bare_models(app: Any, what: str, name: str, value: Any, *rest: Any) -> tuple[str, None] | None:
    """Name a pydantic model without its constructor's arguments, which are its fields; for ``autodoc-process-signature``."""
    return ("", None) if what == "class" and isinstance(value, type) and issubclass(value, BaseModel) else None


_INTRODUCTION = """# Python reference

Every public module of the installed packages. Shapes are written in axis letters: b objects, n input views, m query views,
c latent channels, h w latent size, f feature channels, v value channels, l d text, r pixels, s samples, k level. Protocols and ports
of the slots stand on the [slots' pages](../slots/index.md), commands on [theirs](../commands/index.md)."""
