"""The registry with good, broken, duplicate and foreign packages."""

import sys

import pytest
from fake_distributions import FakeSite

from tunemv3d_core.errors import ComponentError
from tunemv3d_core.registry import registry


def test_names_come_from_metadata_and_get_imports_one(site: FakeSite) -> None:
    site.component("field", "cloud", "fake-cloud")
    site.component("field", "mist", "fake-mist")
    assert {"cloud", "mist"} <= set(registry().names("field"))
    assert "fake_cloud_field_cloud" not in sys.modules
    component = registry().get("field", "cloud")
    assert component.plugin.name == "cloud" and str(component.record) == "cloud (fake-cloud 1.2)"
    assert component.load_build()("[1]") == [1]
    assert "fake_mist_field_mist" not in sys.modules


def test_an_unknown_name_gets_a_suggestion_and_the_list(site: FakeSite) -> None:
    site.component("field", "cloud", "fake-cloud")
    with pytest.raises(
        ComponentError, match=r"^no component 'clodu'\. Did you mean 'cloud'\? Installed: .*cloud \(fake"
    ):
        registry().get("field", "clodu")


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("raise RuntimeError('out of order')", "RuntimeError: out of order"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("def (", "SyntaxError"),
        ("", "AttributeError"),
        ("PLUGIN = 3", "is not a ComponentPlugin"),
    ],
)
def test_a_broken_plugin_is_reported_and_stops_nobody(site: FakeSite, source: str, cause: str) -> None:
    site.component("field", "cloud", "fake-cloud")
    site.module("broken_plugin", source)
    site.distribution("fake_broken", {"tunemv3d.field": {"aaa": "broken_plugin:PLUGIN"}}, version="0.3")
    (problem,) = [p for p in registry().problems(["field"]) if p.name == "aaa"]
    assert (problem.slot, problem.distribution, problem.version) == ("field", "fake-broken", "0.3")
    assert cause in problem.cause
    with pytest.raises(ComponentError, match=r"field aaa \(fake-broken 0\.3\)"):
        registry().get("field", "aaa")
    assert registry().get("field", "cloud").plugin.name == "cloud"


def test_another_interface_version_is_refused(site: FakeSite) -> None:
    site.component("field", "cloud", "fake-cloud", api="2.0")
    site.component("field", "mist", "fake-mist", api="1.7")
    with pytest.raises(ComponentError, match=r"version 2\.0 of the field interface; this tunemv3d-core offers 1\.0"):
        registry().get("field", "cloud")
    assert registry().get("field", "mist").plugin.api == "1.7"


def test_a_component_of_another_slot_is_refused(site: FakeSite) -> None:
    site.component("field", "cloud", "fake-cloud")
    site.distribution("fake_wrong", {"tunemv3d.lifter": {"cloud": "fake_cloud_field_cloud:PLUGIN"}})
    with pytest.raises(ComponentError, match="slot 'lifter' but describes a component of 'field'"):
        registry().get("lifter", "cloud")


def test_a_value_that_names_nothing_importable_is_reported(site: FakeSite) -> None:
    site.distribution("fake_odd", {"tunemv3d.field": {"odd": "not an import path!"}})
    with pytest.raises(ComponentError, match="BadEntryPoint"):
        registry().get("field", "odd")


def test_one_name_from_two_distributions_must_be_told_apart(site: FakeSite) -> None:
    site.component("field", "cloud", "fake-a")
    site.component("field", "cloud", "fake-b")
    with pytest.raises(ComponentError, match=r"claimed by fake-a 1\.2 .* and fake-b 1\.2 .*'fake-a:cloud' or"):
        registry().get("field", "cloud")
    assert registry().get("field", "fake-b:cloud").record.distribution == "fake-b"
    assert registry().get("field", "Fake_A:cloud").record.distribution == "fake-a"
    assert {"fake-a:cloud", "fake-b:cloud"} <= set(registry().names("field"))


def test_the_same_record_found_twice_counts_once(site: FakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    site.component("field", "cloud", "fake-cloud")
    site.distribution("fake.cloud", {"tunemv3d.field": {"cloud": "fake_cloud_field_cloud:PLUGIN"}})
    assert len([r for r in registry().records("field") if r.name == "cloud"]) == 1
    assert registry().get("field", "cloud").plugin.name == "cloud"


def test_a_build_function_that_does_not_load_names_the_component(site: FakeSite) -> None:
    site.component("field", "cloud", "fake-cloud", build="json:no_such_function")
    with pytest.raises(ComponentError, match=r"cloud \(fake-cloud 1\.2\): 'json:no_such_function' does not load"):
        registry().get("field", "cloud").load_build()
