"""The Python reference: a page for every module of core, and one for each further package."""

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from docutils import nodes
from pydantic import BaseModel
from sphinx import addnodes
from sphinx.ext.napoleon import Config
from sphinx.ext.napoleon.docstring import GoogleDocstring

from pages.components import options
from pages.markdown import autodoc, code, page, prose, table, toctree
from pages.slots import ports, protocols
from tunemv3d_core.plugins.descriptor import COMPONENT_SLOTS, SLOTS
from tunemv3d_core.plugins.registry import registry

ELSEWHERE = ("__main__", "cli", "commands", "in_blender", "adapters", "kernels", "planning", "pretrained")
"""Modules that are documented as commands, run inside Blender's own Python, or are called by one component alone."""

CORE = "tunemv3d_core"
"""The package whose modules have pages of their own."""

KIT = "tunemv3d_core.testing"
"""The conformance kit, whose checks are run by name, not called: a list of them is enough."""

WHOLE = ("tunemv3d_modulation", "tunemv3d_neus", "tunemv3d_train")
"""Packages that are described on one page each, with every argument. The others' names are listed: a site with pages of
all their modules takes 8 MB more."""


def pages() -> dict[str, str]:
    """A page for each module and each folder of modules of core, and one for each further package."""
    parts = public_parts(CORE)
    texts = {f"reference/{part}.md": _part_page(CORE, part, modules) for part, modules in parts.items()}
    rows = [[f"[{part}]({part}.md)", prose(_summary(part))] for part in parts]
    for package in packages():
        modules = [module for part in public_parts(package).values() for module in part]
        sections: Iterable[str] = [_BRIEF, *map(_listed, modules)]
        if package == CORE:
            sections = [table(["module", "what it holds"], rows)]
        elif package in WHOLE:
            sections = [page(f"## {module}", _documented(module)) for module in modules]
        texts[f"reference/{package}.md"] = page(f"# {package}", prose(_summary(package)), *sections)
    return texts | {"reference/index.md": page(_INTRODUCTION, toctree(packages()))}


def packages() -> list[str]:
    """The import packages of all distributions that publish something for TuneMV3D, core first."""
    found = {re.split("[.:]", record.value)[0] for slot in SLOTS for record in registry().records(slot)}
    return sorted(found, key=lambda name: (name != "tunemv3d_core", name))


def public_parts(package: str) -> dict[str, list[str]]:
    """A package's modules by the module or folder that holds them, but for private ones and those of ``ELSEWHERE``."""
    return {part: [part, *_below(part)] for part in _directly_below(package)}


def _below(module: str) -> list[str]:
    found = []
    for name in _directly_below(module):
        found += [name, *_below(name)]
    return found


def _directly_below(module: str) -> list[str]:
    locations = find_spec(module).submodule_search_locations  # type: ignore[union-attr]
    names = sorted(info.name for info in pkgutil.iter_modules(locations or []))
    return [f"{module}.{name}" for name in names if name not in ELSEWHERE and not name.startswith("_")]


def _part_page(package: str, part: str, modules: list[str]) -> str:
    """Out of the navigation, which would be hundreds of lines long on every page; the package's page leads here."""
    if part == KIT:
        return page("---\norphan: true\n---", f"# {part}", f"In [{package}]({package}.md).", *map(_listed, modules))
    sections = (page(f"## {module}" if module != part else "", _documented(module)) for module in modules)
    return page("---\norphan: true\n---", f"# {part}", f"In [{package}]({package}.md).", *sections)


def _documented(module: str) -> str:
    """A module's members; what the slots' pages show is named, and a spec's fields are its table of options."""
    shown = [value for slot in COMPONENT_SLOTS for value in [*protocols(slot), ports(slot)] if value is not None]
    elsewhere = [value.__name__ for value in shown if value.__module__ == module]
    models = _models(module)
    left_out = [*elsewhere, *(model.__name__ for model in models)]
    links = ", ".join(f"{{py:class}}`~{module}.{name}`" for name in elsewhere)
    return page(
        autodoc(
            "automodule",
            module,
            ":members:",
            *([f":exclude-members: {', '.join(left_out)}"] if left_out else []),
        ),
        *(page(autodoc("autoclass", f"{module}.{model.__name__}"), options(model)) for model in models),
        f"On the [slots' pages](../slots/index.md): {links}." if elsewhere else "",
    )


def _models(module: str) -> list[type[BaseModel]]:
    """The specs that a module defines; none where it cannot be imported, of which autodoc warns."""
    try:
        values = vars(importlib.import_module(module)).values()
    except (Exception, SystemExit):
        return []
    models = [value for value in values if isinstance(value, type) and issubclass(value, BaseModel)]
    return [model for model in models if model.__module__ == module and not model.__name__.startswith("_")]


def _listed(module: str) -> str:
    """A module's public functions and classes with the first sentence of each."""
    defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    found = [node for node in _tree(module).body if isinstance(node, defined) and not node.name.startswith("_")]
    rows = [[code(node.name), prose((ast.get_docstring(node) or "").partition("\n\n")[0])] for node in found]
    return page(f"## {module}", prose(_summary(module)), table(["name", "what it is"], rows))


def _tree(module: str) -> ast.Module:
    """A module as it is written; it is not run."""
    origin = find_spec(module).origin  # type: ignore[union-attr]
    return ast.parse(Path(str(origin)).read_text(encoding="utf-8"))


def _summary(module: str) -> str:
    """The first paragraph of a module's docstring."""
    return (ast.get_docstring(_tree(module)) or "").partition("\n\n")[0]


def as_google(app: Any, what: str, name: str, value: Any, settings: Any, lines: list[str]) -> None:
    """Read docstrings in Google's style; for ``autodoc-process-docstring``.

    The extension napoleon would do the same, but take what stands before a colon in a field's docstring for its type.
    """
    read_as = "class" if what in ("attribute", "data", "property") else what
    config: Any = Config(napoleon_attr_annotations=False)
    lines[:] = GoogleDocstring(lines, config, what=read_as).lines()  # type: ignore[arg-type]


def tidied(app: Any, doctree: nodes.document) -> None:
    """Set a dash between a parameter's name and its description, and leave out values that are no literals, whose
    words would be the machine's; for ``doctree-read``.
    """
    for text in list(doctree.findall(nodes.Text)):
        if text == " -- ":
            text.parent.replace(text, nodes.Text(" \N{EN DASH} "))
    for value in list(doctree.findall(addnodes.desc_annotation)):
        if value.astext().startswith(" = ") and not _is_literal(value.astext().removeprefix(" = ")):
            value.parent.remove(value)


def _is_literal(text: str) -> bool:
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return False
    return True


def bare_classes(app: Any, what: str, name: str, value: Any, *rest: Any) -> tuple[str, None] | None:
    """Name a spec or a protocol without a constructor; for ``autodoc-process-signature``."""
    bare = what == "class" and (issubclass(value, BaseModel) or getattr(value, "_is_protocol", False))
    return ("", None) if bare else None


_BRIEF = """The docstrings in the source say the rest: arguments, shapes, units, errors."""

_INTRODUCTION = """# Python reference

Every public module of the installed packages: core, modulation, neus and train with all arguments, the others by name.
Shapes are written in axis letters: b objects, n input views, m query
views, c latent channels, h w latent size, f feature channels, v value channels, l d text, r pixels, s samples, k
level. Protocols and ports of the slots stand on the [slots' pages](../slots/index.md), commands on
[theirs](../commands/index.md)."""
