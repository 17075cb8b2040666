"""One page per slot: its interface, its ports, and the components that are installed for it."""

import inspect
from typing import Any, get_type_hints

import tunemv3d_core.slots as interfaces
from pages.components import described, installed
from pages.markdown import autodoc, code, page, prose, table, toctree
from tunemv3d_core.errors import ComponentError
from tunemv3d_core.plugins.descriptor import API, COMPONENT_SLOTS, FILE_SLOTS, MODEL_SLOTS, SLOTS, CommandPlugin
from tunemv3d_core.plugins.registry import registry

BESIDE = {
    "backbone": ("ReportsCutPrompts", "KnowsCaptionWords", "Offloadable", "LoadsAdapters", "CastsWeights", "Compiles"),
    "field": ("Scene", "HasSurface"),
    "dataset": ("KeepsLatents", "HonoursOptOut", "Streams", "HasMaps"),
    "loss": ("Prediction", "Targets", "NeedsMaps", "FollowsSteps", "Reports"),
    "optimizer": ("OptimizerContext",),
    "metric": ("ObjectMetric", "SetMetric", "ComparesWithReal", "MeasuredObject", "Need", "Figure"),
    "mesher": ("Shape", "Pictures", "TexturedMesh"),
}
"""Classes of ``tunemv3d_core.slots`` that belong to a slot beside its own."""


def pages() -> dict[str, str]:
    """The slots' pages and their index."""
    texts = {f"slots/{slot}.md": component_slot(slot) for slot in COMPONENT_SLOTS}
    texts |= {f"slots/{slot}.md": _other_slot(slot) for slot in SLOTS if slot not in COMPONENT_SLOTS}
    return texts | {"slots/index.md": page(_INTRODUCTION, _overview(), toctree(SLOTS))}


def interface(slot: str) -> type | None:
    """The protocol of a slot: ``ViewEncoder`` of view_encoder."""
    found: type | None = getattr(interfaces, "".join(word.title() for word in slot.split("_")), None)
    return found


def protocols(slot: str) -> list[type]:
    """All protocols that a slot's page shows, its own first."""
    own = interface(slot)
    return [*([own] if own else []), *(getattr(interfaces, name) for name in BESIDE.get(slot, ()))]


def ports(slot: str) -> type | None:
    """The class of a slot's ``ports``, where its protocol has any."""
    own = interface(slot)
    found: type | None = get_type_hints(own).get("ports") if own else None
    return found


def component_slot(slot: str) -> str:
    """The page of a slot that components fill; their modules are imported."""
    shown, offers = protocols(slot), ports(slot)
    return page(
        f"# {slot}",
        f"Interface version {API[slot]} · entry-point group {code(f'tunemv3d.{slot}')} · {_place(slot)}",
        "## Interface",
        *(_documented(protocol) for protocol in shown),
        "" if shown else "Core defines no interface for this slot.",
        "## Ports" if offers else "",
        _documented(offers) if offers else "",
        "## Installed components",
        *(_section(component) for component in installed(slot)),
        "" if registry().names(slot) else "None is installed.",
    )


def _documented(subject: type) -> str:
    special = [":special-members: __call__, __len__"] if subject.__module__.startswith(interfaces.__name__) else []
    return autodoc("autoclass", f"{subject.__module__}.{subject.__qualname__}", ":members:", *special)


def _section(component: Any) -> str:
    return f"Broken: {prose(str(component))}" if isinstance(component, ComponentError) else described(component)


def _place(slot: str) -> str:
    if slot in MODEL_SLOTS:
        return f"in a spec: {code(f'model.{slot}')}"
    places = {"dataset": "`data`", "aggregator": "a field's `aggregator`", "loss": "`loss.terms`, each under its name"}
    places |= {"optimizer": "`optimizer.algorithm`, also of a part", "schedule": "`optimizer.schedule`, also of a part"}
    return f"in a spec: {places[slot]}" if slot in places else "not in a spec"


def _other_slot(slot: str) -> str:
    """The page of a slot whose entry points are files or commands."""
    rows = [
        [code(record.name), f"{code(record.distribution)} {record.version}", _summary(record)]
        for record in registry().records(slot)
    ]
    value = (
        "a `pathlib.Path`" if slot in FILE_SLOTS else "a {py:class}`~tunemv3d_core.plugins.descriptor.CommandPlugin`"
    )
    return page(
        f"# {slot}",
        f"Entry-point group {code(f'tunemv3d.{slot}')} · an entry point names {value}",
        "## Installed",
        table(["name", "distribution", "what it is"], rows),
    )


def _summary(record: Any) -> str:
    try:
        value = registry().load(record)
    except ComponentError as error:
        return f"broken: {prose(str(error))}"
    return prose(value.summary) if isinstance(value, CommandPlugin) else ""


def _overview() -> str:
    rows = []
    for slot in SLOTS:
        own = interface(slot)
        first = (inspect.getdoc(own) or "").partition("\n\n")[0] if own else _ABOUT.get(slot, "")
        rows.append([f"[{slot}]({slot}.md)", API.get(slot, ""), prose(first), str(len(registry().names(slot)))])
    return table(["slot", "interface", "what it is for", "installed"], rows)


_ABOUT = {
    "metric": "Measures finished objects, one at a time or a set together; `tunemv3d evaluate` reports the figures.",
    "spec": "A packaged spec, found by its name.",
    "asset": "A packaged folder: a pipeline, a checkpoint, a dataset.",
    "command": "A command of `tunemv3d`.",
}

_INTRODUCTION = """# Slots

A slot is a place in the system that a component fills. Components are found through entry points, so one of yours is
taken like one of ours; a spec chooses them by name. Each page here is made from the interface in
`tunemv3d_core.slots` and from what is installed.

A component's entry point names a {py:class}`~tunemv3d_core.plugins.descriptor.ComponentPlugin`, whose module
imports no torch. Its `build` function runs only when a system is assembled. For the slots of a model it is
`build(spec, neighbours, context)`: its options, the {py:class}`~tunemv3d_core.ports.Neighbours` that were built before
it, and the {py:class}`~tunemv3d_core.ports.BuildContext`; datasets, metrics and schedules are built by `build(spec)`,
optimizers by `build(spec, groups, context)`. What a
model's component returns carries `ports`; where they do not fit its neighbours', assembling stops and names both. No
class needs to be inherited."""
