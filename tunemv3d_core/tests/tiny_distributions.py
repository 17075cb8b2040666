"""Distributions on disk whose components build the stand-ins: what a checkpoint's provenance speaks of."""

from pathlib import Path
from typing import Any

from fake_distributions import FakeSite

from tunemv3d_core.plugins.descriptor import MODEL_SLOTS

BUILDS = {
    "backbone": "TinyBackbone()",
    "view_encoder": "TinyEncoder()",
    "field": "TinyField()",
    "lifter": "TinyLifter()",
    "injector": "TinyInjector()",
    "aggregator": "None",
    "dataset": "None",
}
"""What each slot's component is."""

PLUGIN = """
from tunemv3d_core.plugins.descriptor import ComponentPlugin
from tunemv3d_core.config.component_fields import AggregatorSpec
from tunemv3d_core.config.component_spec import ComponentSpec

class Options(ComponentSpec):
    width: int = 3
    \"\"\"Width.\"\"\"
{nested}
PLUGIN = ComponentPlugin("{slot}", "{name}", "1.0", Options, "{package}.build:build", "A stand-in")
"""


def offer(site: FakeSite, slot: str, name: str = "tiny", version: str = "1.2") -> Path:
    """A distribution ``tiny-SLOT`` of one package, with descriptor and build function; the package's folder."""
    package = f"{name}_{slot}".replace("-", "_")
    folder = site.folder / package
    folder.mkdir()
    nested = "    aggregator: AggregatorSpec | None = None\n" if slot == "field" else ""
    described = PLUGIN.format(slot=slot, name=name, package=package, nested=nested)
    (folder / "__init__.py").write_text("", "utf-8")
    (folder / "plugin.py").write_text(described, "utf-8")
    (folder / "build.py").write_text(
        f"from stand_ins import *\n\ndef build(spec, *neighbours):\n    return {BUILDS[slot]}\n", "utf-8"
    )
    site.modules += [package, f"{package}.plugin", f"{package}.build"]
    site.distribution(f"{name}-{slot}", {f"tunemv3d.{slot}": {name: f"{package}.plugin:PLUGIN"}}, version)
    return folder


def offer_all(site: FakeSite) -> dict[str, Path]:
    """A distribution for every slot of a spec; their packages' folders."""
    return {slot: offer(site, slot) for slot in BUILDS}


def spec_content(**parts: Any) -> dict[str, Any]:
    """A spec of the stand-ins, as JSON."""
    model: dict[str, Any] = {slot: {"type": "tiny"} for slot in MODEL_SLOTS}
    model["field"] = {"type": "tiny", "aggregator": {"type": "tiny"}}
    return {"name": "tiny", "model": model | parts, "data": {"type": "tiny"}, "train": {"steps": 1}}
