"""The options of a run outside its components, and the packaged specs."""

import json
from typing import Any

from pages.components import options
from pages.markdown import code, page, prose, table
from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.plugins.registry import registry

BLOCKS = ("model", "views", "loss", "optimizer", "train", "sample")
"""Blocks of a spec whose options are fixed; the data and each part of the model are a component's."""


def pages() -> dict[str, str]:
    """The page of the spec."""
    top = options(RunSpec)
    specs: dict[str, Any] = {name: RunSpec.model_fields[name].annotation for name in BLOCKS}
    blocks = [f"## {name}\n\n{options(spec)}" for name, spec in specs.items()]
    return {"specs.md": page("# Specs", _INTRODUCTION, "## Packaged specs", _packaged(), "## Top level", top, *blocks)}


def _packaged() -> str:
    rows = []
    for name in registry().names("spec"):
        record = registry().find("spec", name)
        content: dict[str, Any] = json.loads(registry().load(record).read_text(encoding="utf-8"))
        extends = content.get("extends", "")
        rows.append([code(name), code(extends) if extends else "", prose(_differs(content)), code(record.distribution)])
    return table(["name", "extends", "its blocks say", "distribution"], rows)


def _differs(content: dict[str, Any]) -> str:
    return ", ".join(key for key in content if key not in ("$schema", "extends", "name"))


_INTRODUCTION = """A spec is every option of a run in one frozen tree of JSON. A component's block names it by `type`;
the options of each stand on the [slots' pages](slots/index.md). Unknown options are refused with the nearest known
name.

    tunemv3d spec show chairs-mini                      # everything, with defaults, and the run's id
    tunemv3d spec schema > spec.schema.json             # for editors: name it in a spec's "$schema"
    tunemv3d-train chairs-mini --set optimizer.lr=2e-4  # override one option

A spec may extend another by name or path and say only its difference, merged over it as JSON Merge Patch: `null`
takes an inherited key away, and a block whose `type` changes is replaced whole:

```json
{"extends": "chairs-mini", "name": "wider", "model": {"field": {"hidden": 128}}}
```"""
