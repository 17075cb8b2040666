"""One table of everything that is installed, and what one component's page says of it."""

import inspect
import json
from typing import Any

from pydantic import BaseModel

from pages.markdown import code, page, prose, table
from tunemv3d_core.config.schema import describe_type, options_of
from tunemv3d_core.errors import ComponentError
from tunemv3d_core.plugins.descriptor import COMPONENT_SLOTS
from tunemv3d_core.plugins.registry import Component, load_value, registry


def pages() -> dict[str, str]:
    """The table of all components with their options."""
    return {"components.md": page("# All components", _INTRODUCTION, *map(_of_slot, COMPONENT_SLOTS))}


def installed(slot: str) -> list[Component | ComponentError]:
    """The components of a slot; in a broken one's place the reason."""
    found: list[Component | ComponentError] = []
    for name in registry().names(slot):
        try:
            found.append(registry().get(slot, name))
        except ComponentError as error:
            found.append(error)
    return found


def described(component: Component) -> str:
    """A component's section on its slot's page: what it is, where it comes from, its options."""
    plugin, record = component.plugin, component.record
    facts = [
        ["distribution", f"{code(record.distribution)} {record.version}"],
        ["interface", plugin.api],
        ["built by", _builder(component)],
        ["after", prose(plugin.reference)],
    ]
    return page(
        f"### {plugin.name}",
        prose(plugin.summary),
        table(["", ""], [fact for fact in facts if fact[1]]),
        options(plugin.spec) or "It has no options.",
    )


def options(spec: type[BaseModel]) -> str:
    """A table of options as ``tunemv3d plugins show`` lists them."""
    return table(["option", "type", "default", "description"], _options(spec))


def _options(spec: type[BaseModel]) -> list[list[str]]:
    return [
        [code(name), _type(describe_type(option)), _default(option), prose(option.get("description", ""))]
        for name, option in options_of(spec).items()
    ]


def _type(words: str) -> str:
    """A type in words; a choice as its choices, which may stand on lines of their own."""
    return code(words) if "[" in words or "{" in words else " or ".join(map(code, words.split(" | ")))


def _default(option: dict[str, Any]) -> str:
    if option["required"]:
        return "required"
    default = option.get("default")
    return "its own" if isinstance(default, dict) and default else code(json.dumps(default, ensure_ascii=False))


def _builder(component: Component) -> str:
    """The build function with the names of its arguments; by name alone where it cannot be imported."""
    where = component.plugin.build.replace(":", ".")
    try:
        arguments = ", ".join(inspect.signature(load_value(component.plugin.build)).parameters)
    except (Exception, SystemExit):
        return code(where)
    return code(f"{where}({arguments})")


def _of_slot(slot: str) -> str:
    rows = []
    for component in installed(slot):
        if isinstance(component, ComponentError):
            rows.append(["", "", "", "", f"broken: {prose(str(component))}"])
            continue
        plugin = component.plugin
        rows.append([f"[{plugin.name}](slots/{slot}.md#{plugin.name})", "", "", "", prose(plugin.summary)])
        rows += [["", *option] for option in _options(plugin.spec)]
    columns = ["component", "option", "type", "default", "description"]
    return page(f"## {slot}", table(columns, rows) or "None is installed.")


_INTRODUCTION = """Everything that is installed where this page was built, by slot. `tunemv3d plugins list` says what
is installed with you, and `tunemv3d plugins show NAME` what is said here of one component."""
