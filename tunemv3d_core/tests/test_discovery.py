"""Reading entry points: what installers write, what others break, and how often it is read."""

import re
from importlib import metadata

import pytest
from fake_distributions import FakeSite

from tunemv3d_core.errors import ComponentError
from tunemv3d_core.plugins import discovery
from tunemv3d_core.plugins.descriptor import SLOTS
from tunemv3d_core.plugins.discovery import Discovery, EntryPointRecord

OURS = {"tunemv3d.field": {"cloud": "no_such_module:PLUGIN"}}
FOUND = EntryPointRecord("field", "cloud", "no_such_module:PLUGIN", "fake-cloud", "1.2")


def test_an_entry_point_is_read_without_importing_it(site: FakeSite) -> None:
    site.distribution("Fake.Cloud", OURS)
    assert FOUND in Discovery().records("field")
    assert FOUND not in Discovery().records("lifter")


def test_equals_what_importlib_metadata_finds() -> None:
    ours = {(r.slot, r.name, r.value) for slot in SLOTS for r in Discovery().records(slot)}
    theirs = {
        (slot, p.name, p.value) for slot in SLOTS for p in metadata.entry_points().select(group=f"tunemv3d.{slot}")
    }
    assert ours == theirs
    assert ("command", "plugins", "tunemv3d_core.cli.commands:PLUGINS") in ours


@pytest.mark.parametrize(
    "content",
    [
        b"no section header\n",
        b"[console_scripts]\na = b:c\na = d:e\n",
        b"[a]\n\xff\xfe = \x80\n",
        b"[tunemv3d.field]\nx\n",
    ],
    ids=["no header", "twice the same option", "not UTF-8", "no value"],
)
def test_malformed_metadata_of_another_package_hides_nothing(site: FakeSite, content: bytes) -> None:
    whole = Discovery()
    before = [record for slot in SLOTS for record in whole.records(slot)]
    (site.distribution("foreign", {}) / "entry_points.txt").write_bytes(content)
    site.distribution("fake_cloud", OURS)
    after = Discovery()
    assert FOUND in after.records("field")
    assert set(before) <= {record for slot in SLOTS for record in after.records(slot)}


def test_an_unreadable_zip_on_the_path_hides_nothing(site: FakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = site.folder / "broken.zip"
    broken.write_bytes(b"PK\x05\x06" + b"\xff" * 18)
    monkeypatch.syspath_prepend(str(broken))
    site.distribution("fake_cloud", OURS)
    assert FOUND in Discovery().records("field")


def test_a_distribution_without_version_in_its_folder_name_is_asked_for_it(site: FakeSite) -> None:
    info = site.distribution("fake_cloud", OURS).rename(site.folder / "fake_cloud.egg-info")
    (info / "METADATA").rename(info / "PKG-INFO")
    assert FOUND in Discovery().records("field")


def test_scans_once_until_cleared(site: FakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    scans = []
    scan = discovery._scan
    monkeypatch.setattr(discovery, "_scan", lambda: scans.append(1) or scan())
    found = Discovery()
    assert FOUND not in found.records("field")
    site.distribution("fake_cloud", OURS)
    assert FOUND not in found.records("field") and len(scans) == 1
    found.clear()
    assert FOUND in found.records("field") and len(scans) == 2


@pytest.mark.parametrize(
    ("permission", "permitted"),
    [
        ("", {"fake-a", "fake-b", "fake-c"}),
        (" , ", {"fake-a", "fake-b", "fake-c"}),
        ("-fake-a", {"fake-b", "fake-c"}),
        ("-fake-a,-Fake.B", {"fake-c"}),
        ("fake_a", {"fake-a"}),
        ("fake-a, fake-c", {"fake-a", "fake-c"}),
        ("fake-a,fake-b,-fake-a", {"fake-b"}),
        ("nobody", set()),
        ("-tunemv3d-core", {"fake-a", "fake-b", "fake-c"}),
    ],
)
def test_whose_plugins_are_permitted(
    site: FakeSite, monkeypatch: pytest.MonkeyPatch, permission: str, permitted: set[str]
) -> None:
    for name in ("fake-a", "fake-b", "fake-c"):
        site.distribution(name, OURS)
    monkeypatch.setenv("TUNEMV3D_PLUGINS", permission)
    found = Discovery()
    fakes = {"fake-a", "fake-b", "fake-c"}
    assert {r.distribution for r in found.records("field")} & fakes == permitted
    assert {r.distribution for r in found.records("field", permitted=False)} & fakes == fakes - permitted
    assert {"plugins", "spec"} <= {r.name for r in found.records("command")}, "core's own are always there"


@pytest.mark.parametrize("permission", ["--fake-a", "fake a", "a:b", "only=a", "*"])
def test_a_permission_that_is_no_name_is_refused(monkeypatch: pytest.MonkeyPatch, permission: str) -> None:
    monkeypatch.setenv("TUNEMV3D_PLUGINS", f"a,{permission}")
    with pytest.raises(
        ComponentError, match=re.escape(f"TUNEMV3D_PLUGINS: '{permission}' is not the name of a distribution")
    ):
        Discovery().records("field")
