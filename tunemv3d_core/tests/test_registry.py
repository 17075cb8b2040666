"""The registry with good, broken, duplicate and foreign packages."""

import re
import sys

import pytest
from fake_distributions import FakeSite

from tunemv3d_core.errors import ComponentError
from tunemv3d_core.plugins.descriptor import API
from tunemv3d_core.plugins.registry import registry


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
    with pytest.raises(ComponentError, match=r"field aaa \(fake-broken 0\.3\)") as caught:
        registry().get("field", "aaa")
    assert cause in str(caught.value)
    assert registry().get("field", "cloud").plugin.name == "cloud"


OFFERED = r"the field interface; tunemv3d-core \S+ offers 1\.1: "


@pytest.mark.parametrize(
    ("api", "refusal"),
    [
        (
            "0.9",
            rf"^field cloud \(fake-cloud 1\.2\) is .* version 0\.9 of {OFFERED}'fake-cloud' is not of this project;",
        ),
        ("2.0", rf"version 2\.0 of {OFFERED}pip install -U tunemv3d-core$"),
        ("1.2", rf"version 1\.2 of {OFFERED}pip install -U tunemv3d-core$"),
        ("1.10", rf"version 1\.10 of {OFFERED}pip install -U tunemv3d-core$"),
        ("1", r"interface version '1'; it should look like '1\.1'"),
        ("latest", r"interface version 'latest'"),
        ("1.0", None),
        ("1.1", None),
    ],
)
def test_interface_versions(site: FakeSite, monkeypatch: pytest.MonkeyPatch, api: str, refusal: str | None) -> None:
    monkeypatch.setitem(API, "field", "1.1")
    site.component("field", "cloud", "fake-cloud", api=api)
    if refusal is None:
        assert registry().get("field", "cloud").plugin.api == api
        return
    with pytest.raises(ComponentError, match=refusal):
        registry().get("field", "cloud")


def test_commands_have_an_interface_version_too(site: FakeSite) -> None:
    descriptor = "CommandPlugin('greet', 'a:b', 'Greets.', '2.0')"
    command = f"from tunemv3d_core.plugins.descriptor import CommandPlugin\nPLUGIN = {descriptor}"
    site.module("fake_greet", command)
    site.distribution("fake_greet", {"tunemv3d.command": {"greet": "fake_greet:PLUGIN"}})
    with pytest.raises(ComponentError, match=r"command greet .* version 2\.0 of the command interface.*tunemv3d-core$"):
        registry().load(registry().find("command", "greet"))


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ("name='mist'", "is published as 'cloud' but its descriptor names it 'mist'"),
        ("name=3", "declares name = 3, which is not text"),
        ("summary=None", "declares summary = None, which is not text"),
        ("api=1.0", "declares api = 1.0, which is not text"),
        ("renamed_to=True", "declares renamed_to = True, which is not text"),
        ("slot='feild'", "slot 'field' but describes a component of 'feild'"),
        ("spec=3", "has a spec that is not a ComponentSpec"),
        ("spec=Options(type='cloud')", "has a spec that is not a ComponentSpec"),
        ("spec=dict", "has a spec that is not a ComponentSpec"),
        ("build='json.loads'", "declares 'json.loads', which does not look like 'module:function'"),
        ("build='json:loads()'", "declares 'json:loads()', which"),
        ("build='json: loads'", "declares 'json: loads', which"),
    ],
)
def test_nonsense_in_a_descriptor_is_told(site: FakeSite, change: str, cause: str) -> None:
    more = f"from dataclasses import replace\nPLUGIN = replace(PLUGIN, {change})\n"
    site.component("field", "cloud", "fake-cloud", more=more)
    site.component("field", "mist", "fake-mist")
    with pytest.raises(ComponentError) as caught:
        registry().get("field", "cloud")
    assert cause in str(caught.value) and str(caught.value).startswith("field cloud (fake-cloud 1.2) ")
    assert registry().get("field", "mist").plugin.name == "mist"


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "os.system",
        "json:loads",
        "json.loads",
        "fake_cloud_field_cloud:PLUGIN",
        "fake-cloud",
        ":",
        "../cloud",
    ],
)
@pytest.mark.parametrize("slot", ["field", "command", "spec", "asset"])
def test_a_name_is_never_an_import_path(site: FakeSite, slot: str, name: str) -> None:
    site.component("field", "cloud", "fake-cloud")
    with pytest.raises(ComponentError, match=rf"^no \w+ '{re.escape(name)}'"):
        registry().get(slot, name)
    assert "fake_cloud_field_cloud" not in sys.modules


def test_what_an_import_prints_goes_to_standard_error(site: FakeSite, capsys: pytest.CaptureFixture[str]) -> None:
    site.component("field", "cloud", "fake-cloud", build="fake_loud:build", more="print('hello')")
    site.module("fake_loud", "print('hello again')\nbuild = print\n")
    registry().get("field", "cloud").load_build()
    assert capsys.readouterr() == ("", "hello\nhello again\n")


def test_an_interruption_during_an_import_is_not_the_plugins_fault(site: FakeSite) -> None:
    site.component("field", "cloud", "fake-cloud", more="raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        registry().get("field", "cloud")


def test_a_forbidden_distribution_is_not_imported(site: FakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    site.component("field", "cloud", "evil-plugin")
    site.component("field", "mist", "fake-mist")
    monkeypatch.setenv("TUNEMV3D_PLUGINS", "-Evil_Plugin")
    assert "cloud" not in registry().names("field") and "mist" in registry().names("field")
    for name in ("cloud", "evil-plugin:cloud"):
        with pytest.raises(
            ComponentError, match=r"cloud \(evil-plugin 1\.2\) is forbidden by TUNEMV3D_PLUGINS=-Evil_Pl"
        ):
            registry().get("field", name)
    (record,) = [r for r in registry().everything() if r.distribution == "evil-plugin"]
    with pytest.raises(ComponentError, match="forbidden"):
        registry().load(record)
    assert "evil_plugin_field_cloud" not in sys.modules
    monkeypatch.delenv("TUNEMV3D_PLUGINS")
    assert registry().get("field", "cloud").record == record


def test_forbidding_one_of_two_claims_leaves_the_other(site: FakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    site.component("field", "cloud", "fake-a")
    site.component("field", "cloud", "fake-b")
    with pytest.raises(ComponentError, match=r"forbid one by TUNEMV3D_PLUGINS=-fake-b$"):
        registry().get("field", "cloud")
    monkeypatch.setenv("TUNEMV3D_PLUGINS", "-fake-b")
    assert registry().get("field", "cloud").record.distribution == "fake-a"


def test_nobody_takes_a_name_of_the_projects_own(site: FakeSite) -> None:
    site.component("field", "cloud", "tunemv3d-neus")
    site.component("field", "cloud", "evil-plugin")
    registry().clear()
    assert registry().get("field", "cloud").record.distribution == "tunemv3d-neus"
    assert registry().get("field", "evil-plugin:cloud").record.distribution == "evil-plugin"
    assert {"cloud", "evil-plugin:cloud"} <= set(registry().names("field"))
    assert "tunemv3d-neus:cloud" not in registry().names("field")


def test_a_slot_that_this_core_lacks_is_told(site: FakeSite) -> None:
    site.distribution("fake_new", {"tunemv3d.feild": {"cloud": "fake_new:PLUGIN"}})
    (record,) = [r for r in registry().everything() if r.distribution == "fake-new"]
    with pytest.raises(ComponentError, match=r"feild cloud .* does not have\. Did you mean 'field'\?"):
        registry().load(record)


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
