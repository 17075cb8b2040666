"""The block ``loss`` of a spec: old names of a scene's losses, and components under names of the spec's own choice."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from fake_distributions import FakeSite
from test_spec import SPEC, folder, message, parts, write  # noqa: F401

from tunemv3d_core.config.component_fields import parts_of
from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.config.run_spec import canonical_json
from tunemv3d_core.config.schema import spec_schema
from tunemv3d_core.errors import ComponentError, TuneMV3DWarning
from tunemv3d_core.plugins.registry import registry

EDGE = """
from typing import ClassVar
from tunemv3d_core.config.component_spec import ComponentSpec, LossTermSpec
from tunemv3d_core.plugins.descriptor import ComponentPlugin

class Options({base}):
    old_options: ClassVar[dict[str, str]] = {{"exponent": "power"}}
    power: int = 1
    \"\"\"Of the error.\"\"\"

PLUGIN = ComponentPlugin("loss", "edge", "1.0", Options, "json:loads", "A loss for tests")
"""


@pytest.fixture
def edge(parts: FakeSite) -> FakeSite:  # noqa: F811
    parts.module("edge_loss", EDGE.format(base="LossTermSpec"))
    parts.distribution("fake-edge", {"tunemv3d.loss": {"edge": "edge_loss:PLUGIN"}})
    return parts


def spec_with(loss: dict[str, Any]) -> dict[str, Any]:
    return SPEC | {"loss": loss}


def test_old_names_of_scene_losses_are_read_with_a_warning(folder: Path) -> None:  # noqa: F811
    new = load_spec(write(folder / "new.json", spec_with({"scene": {"eikonal": 0.1, "sparsity": 0}})))
    old = write(folder / "old.json", spec_with({"eikonal": 0.1, "sparsity": 0}))
    with pytest.warns(TuneMV3DWarning) as told:
        read = load_spec(old)
    assert [str(each.message) for each in told] == [
        f"old.json: loss.{name} is now called 'scene.{name}': write that in new specs"
        for name in ("eikonal", "sparsity")
    ]
    assert canonical_json(read) == canonical_json(new)
    with pytest.warns(TuneMV3DWarning, match=r"override 'loss.eikonal=0.3': loss.eikonal is now called"):
        assert load_spec("new.json", ["loss.eikonal=0.3"]).loss.scene == {"eikonal": 0.3, "sparsity": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_spec(old, saved=True) == new


def test_an_old_name_beside_the_new_one_is_refused(folder: Path) -> None:  # noqa: F811
    both = write(folder / "both.json", spec_with({"eikonal": 0.1, "scene": {"eikonal": 0.1}}))
    assert message(both) == [
        "both.json: loss.eikonal: is now 'scene.eikonal', and 'scene' is given too; write all weights there"
    ]
    apart = write(folder / "apart.json", spec_with({"eikonal": 0.1, "scene": {"sparsity": 0}}))
    assert load_spec(apart, saved=True).loss.scene == {"eikonal": 0.1, "sparsity": 0}


def test_terms_are_merged_changed_and_taken_out_by_name(edge: FakeSite, folder: Path) -> None:  # noqa: F811
    write(folder / "base.json", spec_with({"terms": {"a": {"type": "edge", "power": 2}, "b": {"type": "edge"}}}))
    changed = {"extends": "base.json", "loss": {"terms": {"a": {"weight": 0.5}, "b": None}}}
    terms = load_spec(write(folder / "more.json", changed), ["loss.terms.a.power=3"]).loss.terms
    assert {name: term.model_dump() for name, term in terms.items()} == {
        "a": {"type": "edge", "weight": 0.5, "power": 3}
    }
    found = [(place, slot) for place, slot, _ in parts_of(load_spec("more.json").loss)]
    assert found == [("terms.a", "loss")]


def test_a_terms_old_options_are_read(edge: FakeSite, folder: Path) -> None:  # noqa: F811
    old = write(folder / "old.json", spec_with({"terms": {"a": {"type": "edge", "exponent": 2}}}))
    with pytest.warns(TuneMV3DWarning, match=r"old.json: loss.terms.a.exponent is now called 'power'"):
        assert load_spec(old).loss.terms["a"].power == 2  # type: ignore[attr-defined]


def test_the_schema_knows_the_terms(edge: FakeSite) -> None:
    terms = spec_schema()["$defs"]["LossSpec"]["properties"]["terms"]
    (choice,) = terms["additionalProperties"]["oneOf"]
    assert choice["properties"]["type"]["const"] == "edge" and {"weight", "power"} <= choice["properties"].keys()
    json.dumps(terms)


def test_a_loss_without_a_weight_is_refused(parts: FakeSite) -> None:  # noqa: F811
    parts.module("bare_loss", EDGE.format(base="ComponentSpec"))
    parts.distribution("fake-bare", {"tunemv3d.loss": {"edge": "bare_loss:PLUGIN"}})
    with pytest.raises(ComponentError, match="has a spec that is not a LossTermSpec"):
        registry().get("loss", "edge")
