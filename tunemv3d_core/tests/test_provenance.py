"""What a checkpoint says of its components, and what is done when others are installed."""

import hashlib
import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from fake_distributions import FakeSite
from tiny_distributions import offer, offer_all, spec_content

from tunemv3d_core.assemble import assemble
from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.config.run_spec import spec_id
from tunemv3d_core.errors import CheckpointError, SpecError, TuneMV3DWarning
from tunemv3d_core.io.checkpoint import load_checkpoint, save_checkpoint, write_record
from tunemv3d_core.io.code_hash import code_hash, package_hash
from tunemv3d_core.plugins.descriptor import MODEL_SLOTS
from tunemv3d_core.plugins.registry import registry


@pytest.fixture
def packages(site: FakeSite, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    monkeypatch.delenv("TUNEMV3D_PROVENANCE", raising=False)
    return offer_all(site)


@pytest.fixture
def saved(packages: dict[str, Path], tmp_path: Path) -> Path:
    file = tmp_path / "tiny.json"
    file.write_text(json.dumps(spec_content()), "utf-8")
    spec = load_spec(file)
    return save_checkpoint(tmp_path / "saved", assemble(spec.model), spec)


def release(site: FakeSite, distribution: str, version: str) -> None:
    """Install another version of the same files."""
    (old,) = site.folder.glob(f"{distribution.replace('-', '_')}-*.dist-info")
    old.rename(old.with_name(f"{old.name.partition('-')[0]}-{version}.dist-info"))
    registry().clear()


def told(folder: Path, **options: str) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_checkpoint(folder, **options)  # type: ignore[arg-type]
    assert {warning.category for warning in caught} <= {TuneMV3DWarning}
    return [str(warning.message) for warning in caught]


def test_every_component_is_recorded_nested_ones_too(saved: Path, packages: dict[str, Path]) -> None:
    recorded = json.loads((saved / "provenance.json").read_text("utf-8"))["components"]
    assert recorded.keys() == {*MODEL_SLOTS, "field.aggregator"}
    for place, entry in recorded.items():
        slot = place.rpartition(".")[2]
        code = "".join(
            f"{file.parent.name}/{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n"
            for file in (packages[slot] / "__init__.py", packages[slot] / "build.py")
        )
        assert entry == {
            "slot": slot,
            "type": "tiny",
            "distribution": f"tiny-{slot}".replace("_", "-"),
            "version": "1.2",
            "api": "1.0",
            "code": hashlib.sha256(code.encode()).hexdigest(),
        }


def test_nothing_is_told_where_nothing_changed(saved: Path) -> None:
    assert told(saved) == [] and told(saved, provenance="error") == []


@pytest.mark.parametrize("slot", ["field", "aggregator"])
def test_a_missing_component_says_what_to_install(site: FakeSite, saved: Path, slot: str) -> None:
    (info,) = site.folder.glob(f"tiny_{slot}-*.dist-info")
    shutil.rmtree(info)
    registry().clear()
    refusal = (
        rf"^{saved}: the {slot} 'tiny' is needed: 'tiny-{slot}==1\.2' is not of this project; .*\nno component 'tiny'"
    )
    for policy in ("warn", "ignore"):
        with pytest.raises(CheckpointError, match=refusal):
            load_checkpoint(saved, provenance=policy)


def test_what_read_the_training_data_need_not_be_installed(site: FakeSite, saved: Path) -> None:
    recorded = json.loads((saved / "provenance.json").read_text("utf-8"))
    (info,) = site.folder.glob("tiny_dataset-*.dist-info")
    shutil.rmtree(info)
    registry().clear()
    with pytest.raises(SpecError, match="data: no component 'tiny'"):
        load_spec(saved / "spec.json")
    spec, _ = load_checkpoint(saved, provenance="error")
    assert spec_id(spec) == recorded["spec_id"] and spec.data.width == 3  # type: ignore[attr-defined]


def test_a_component_that_is_there_and_unusable_is_not_to_be_installed(
    saved: Path, packages: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = rf"^{saved}: the field 'tiny' was saved with tiny-field==1\.2 and cannot be used here\n"
    monkeypatch.setenv("TUNEMV3D_PLUGINS", "-tiny-field")
    registry().clear()
    with pytest.raises(CheckpointError, match=refusal + r"field tiny \(tiny-field 1\.2\) is forbidden by TUNEMV3D_PL"):
        load_checkpoint(saved)
    monkeypatch.delenv("TUNEMV3D_PLUGINS")
    plugin = packages["field"] / "plugin.py"
    # Of another length: Python takes a compiled file for its source's if second and length agree.
    plugin.write_text(plugin.read_text("utf-8").replace('"1.0"', '"0.4"') + "\n", "utf-8")
    sys.modules.pop("tiny_field.plugin")
    registry().clear()
    with pytest.raises(CheckpointError, match=refusal + r".*'tiny-field' is not of this project; .*"):
        load_checkpoint(saved)


def test_another_version_is_told_once_a_distribution_as_the_user_chose(
    site: FakeSite, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(site, "tiny-field", "2.0")
    line = f"{saved}: saved with tiny-field==1.2, tiny-field==2.0 is installed (field 'tiny')"
    assert told(saved) == [line] and told(saved, provenance="ignore") == []
    with pytest.raises(CheckpointError) as refused:
        load_checkpoint(saved, provenance="error")
    assert str(refused.value).startswith(line + "\n")
    monkeypatch.setenv("TUNEMV3D_PROVENANCE", "error")
    with pytest.raises(CheckpointError):
        load_checkpoint(saved)
    assert told(saved, provenance="warn") == [line]


def test_changed_code_of_the_same_version_is_told(saved: Path, packages: dict[str, Path]) -> None:
    with (packages["aggregator"] / "build.py").open("a", encoding="utf-8") as code:
        code.write("\nWIDTH = 4\n")
    (packages["field"] / "notes.txt").write_text("no code\n", "utf-8")
    assert told(saved) == [
        f"{saved}: saved with tiny-aggregator==1.2, whose code has changed since, although its version has not "
        "(field.aggregator 'tiny')"
    ]


def test_the_plugin_that_made_a_checkpoint_may_ship_it(site: FakeSite, saved: Path, packages: dict[str, Path]) -> None:
    """An asset is named in the descriptors' module, which nothing is built from."""
    shutil.copytree(saved, packages["field"] / "tuned")
    with (packages["field"] / "plugin.py").open("a", encoding="utf-8") as descriptors:
        descriptors.write("\nfrom pathlib import Path\nTUNED = Path(__file__).parent / 'tuned'\n")
    (info,) = site.folder.glob("tiny_field-*.dist-info")
    with (info / "entry_points.txt").open("a", encoding="utf-8") as points:
        points.write("\n[tunemv3d.asset]\ntuned = tiny_field.plugin:TUNED\n")
    (packages["field"] / "command.py").write_text("", "utf-8")
    sys.modules.pop("tiny_field.plugin")
    registry().clear()
    spec, _ = load_checkpoint("tuned", provenance="error")
    assert spec.name == "tiny"


def test_the_hash_of_a_whole_package_in_older_checkpoints_is_compared(saved: Path, packages: dict[str, Path]) -> None:
    record = json.loads((saved / "provenance.json").read_text("utf-8"))
    for place, entry in record["components"].items():
        del entry["code"]
        entry["hash"] = package_hash(registry().get(place.rpartition(".")[2], "tiny"))
    write_record(saved, record)
    assert told(saved, provenance="error") == []
    (packages["field"] / "command.py").write_text("WIDTH = 4\n", "utf-8")
    (line,) = told(saved)
    assert "tiny-field==1.2, whose code has changed since" in line


def test_a_checkpoint_without_hashes_is_compared_by_version_alone(
    site: FakeSite, saved: Path, packages: dict[str, Path]
) -> None:
    path = saved / "provenance.json"
    record = json.loads(path.read_text("utf-8"))
    record["components"] = {
        slot: {key: record["components"][slot][key] for key in ("type", "distribution", "version", "api")}
        for slot in MODEL_SLOTS
    }
    write_record(saved, record)
    (packages["field"] / "helper.py").write_text("WIDTH = 4\n", "utf-8")
    assert told(saved) == []
    release(site, "tiny-field", "2.0")
    assert len(told(saved)) == 1


def test_another_frozen_model_is_told_in_the_same_way(saved: Path) -> None:
    record = (saved / "provenance.json").read_text("utf-8")
    write_record(saved, json.loads(record.replace("0" * 64, "1" * 64)))
    (line,) = told(saved)
    assert "the frozen model is not the one" in line and "tiny.safetensors" in line
    with pytest.raises(CheckpointError, match=r"tiny\.safetensors"):
        load_checkpoint(saved, provenance="error")


def test_an_old_name_loads_old_checkpoints_and_keeps_the_specs_id(site: FakeSite, saved: Path) -> None:
    """A component "tiny" becomes "grand": the old name stays an entry point that says so."""
    recorded = json.loads((saved / "provenance.json").read_text("utf-8"))
    offer(site, "field", "grand")
    plugin = site.folder / "tiny_field" / "plugin.py"
    renamed = "from dataclasses import replace\nPLUGIN = replace(PLUGIN, renamed_to='grand')\n"
    plugin.write_text(plugin.read_text("utf-8") + renamed, "utf-8")
    sys.modules.pop("tiny_field.plugin")
    registry().clear()
    lines = told(saved, provenance="ignore")
    assert lines == ["the field 'tiny' is now called 'grand': write that in new specs"]
    with pytest.warns(TuneMV3DWarning, match="grand"):
        spec, model = load_checkpoint(saved, provenance="ignore")
    assert spec.model.field is not None and spec.model.field.type == "tiny"
    assert spec_id(spec) == recorded["spec_id"] and model.field is not None
    file = saved.with_name("new.json")
    file.write_text(json.dumps(spec_content(field={"type": "grand", "aggregator": {"type": "tiny"}})), "utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_spec(file).model.field.type == "grand"  # type: ignore[union-attr]


REACHED = {
    "__init__.py": "",
    "deep/__init__.py": "",
    "deep/field.py": "from . import near\nfrom ..other import thing\ndef build():\n    import shared_space.ours.late\n",
    "deep/near.py": "from shared_space.ours.named import *\nimport torch",
    "other.py": "if False:\n    from .deep import field\n",
    "late.py": "import shared_space.theirs",
    "named/__init__.py": "",
}
"""Modules of a package that its build function imports, directly or not."""


def test_the_hash_needs_no_import_and_covers_what_build_reaches(site: FakeSite) -> None:
    """Here in a namespace package, which other distributions share and which is none of theirs."""
    space = site.folder / "shared_space"
    for name, text in {**REACHED, "plugin.py": "", "named/apart.py": "", "../theirs/__init__.py": ""}.items():
        (space / "ours" / name).parent.mkdir(parents=True, exist_ok=True)
        (space / "ours" / name).write_text(text, "utf-8")
    site.component("field", "cloud", "fake-cloud", build="shared_space.ours.deep.field:build")
    cloud = registry().get("field", "cloud")
    lines = [f"ours/{name} {hashlib.sha256(text.encode()).hexdigest()}\n" for name, text in sorted(REACHED.items())]
    assert code_hash(cloud) == hashlib.sha256("".join(lines).encode()).hexdigest()
    assert "shared_space.ours" not in sys.modules
    (space / "ours/late.py").write_text("import nothing of this package, which is no Python", "utf-8")
    assert code_hash(cloud) != hashlib.sha256("".join(lines).encode()).hexdigest()


def test_the_older_hash_covers_the_outermost_package(site: FakeSite) -> None:
    for name in ("ours", "theirs"):
        (site.folder / "shared_space" / name / "deep").mkdir(parents=True)
        (site.folder / "shared_space" / name / "__init__.py").write_text("", "utf-8")
    site.component("field", "cloud", "fake-cloud", build="shared_space.ours.deep.field:build")
    cloud = registry().get("field", "cloud")
    seen = [package_hash(cloud)]
    for change in ("theirs/deep/field.py", "ours/deep/field.py", "ours/other.py"):
        (site.folder / "shared_space" / change).write_text("build = print\n", "utf-8")
        seen.append(package_hash(cloud))
    assert seen[0] == seen[1] and len(set(seen)) == 3
    (site.folder / "shared_space" / "ours" / "other.py").unlink()
    assert package_hash(cloud) == seen[2]


def test_the_hash_is_the_same_in_another_process_and_another_place(site: FakeSite, tmp_path: Path) -> None:
    offer(site, "lifter")
    other = tmp_path / "elsewhere"
    shutil.copytree(site.folder, other)
    code = (
        f"import sys; sys.path.insert(0, {str(other)!r})\n"
        "from tunemv3d_core.io.code_hash import code_hash\nfrom tunemv3d_core.plugins.registry import registry\n"
        "print(code_hash(registry().get('lifter', 'tiny')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == code_hash(registry().get("lifter", "tiny"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"components": []}, "components: "),
        ({"components": None}, "components: "),
        ({"frozen": {"a": 3}}, "frozen.a: "),
        ({"field": []}, "components.field: "),
        ({"field": {"type": 3}}, "components.field.type: "),
        ({"field": {"version": None}}, "components.field.version: "),
        ({"field": {"distribution": "tiny; rm -rf ~"}}, "components.field.distribution: "),
        ({"field": {"version": "1 --index-url http://somewhere"}}, "components.field.version: "),
        ({"field": {"version": "1\x1b[2J"}}, "components.field.version: "),
    ],
    ids=str,
)
def test_a_record_that_says_something_else_is_refused_and_where(
    saved: Path, change: dict[str, object], told: str
) -> None:
    """A stranger's checkpoint cannot put words into what a person is told to type."""
    path = saved / "provenance.json"
    record = json.loads(path.read_text("utf-8"))
    if "field" in change:
        field = change["field"]
        record["components"]["field"] = record["components"]["field"] | field if isinstance(field, dict) else field
    else:
        record |= change
    path.write_text(json.dumps(record), "utf-8")
    with pytest.raises(CheckpointError) as refused:
        load_checkpoint(saved)
    assert str(refused.value).startswith(f"{path}: {told}") and "\x1b" not in str(refused.value)


def test_a_record_that_lacks_a_part_is_refused(saved: Path) -> None:
    path = saved / "provenance.json"
    record = json.loads(path.read_text("utf-8"))
    del record["frozen"], record["components"]["field"]["type"]
    path.write_text(json.dumps(record), "utf-8")
    with pytest.raises(CheckpointError, match=r"components\.field\.type: missing\n.*frozen: missing"):
        load_checkpoint(saved)
