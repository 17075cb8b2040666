"""Specs: what is read, merged, refused, and what the id covers."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_distributions import FakeSite
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunemv3d_core.config.loading import load_spec, merge
from tunemv3d_core.config.run_spec import ModelSpec, RunSpec, canonical_json, spec_id
from tunemv3d_core.config.schema import spec_schema
from tunemv3d_core.errors import SpecError
from tunemv3d_core.plugins.descriptor import MODEL_SLOTS
from tunemv3d_core.plugins.registry import registry

MODEL = {slot: {"type": "fake"} for slot in MODEL_SLOTS}
SPEC: dict[str, Any] = {"name": "test", "model": MODEL, "data": {"type": "fake"}, "train": {"steps": 100}}


@pytest.fixture
def parts(site: FakeSite) -> FakeSite:
    """A component "fake" in each slot of a spec."""
    for slot in (*MODEL_SLOTS, "dataset", "aggregator"):
        site.component(slot, "fake", f"fake-{slot}")
    return site


@pytest.fixture
def folder(parts: FakeSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, content: Any) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path.name


def message(*arguments: Any) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load_spec(*arguments)
    return str(caught.value).splitlines()


def test_the_defaults_are_the_papers(folder: Path) -> None:
    spec = load_spec(write(folder / "a.json", SPEC))
    assert (spec.views.inputs, spec.views.novel, spec.train.batch) == (8, 8, 4)
    assert (spec.optimizer.lr, spec.optimizer.weight_decay) == (5e-5, 1e-3)
    assert (spec.loss.denoise, spec.loss.neus) == (1, 1)
    assert spec.model.field is not None and spec.model.field.hidden == 128  # type: ignore[attr-defined]


def test_all_faults_are_told_at_once_each_with_its_place(folder: Path) -> None:
    faulty = SPEC | {
        "model": MODEL | {"field": {"type": "fake", "hiden": 3, "omega": "fast"}, "lifter": {"type": "fkae"}},
        "loss": {"neus": -1},
        "optimizer": {"parts": {"feld.sdf": {"lr_scale": 2}}},
        "train": {"precision": "fp64"},
        "viewz": {},
    }
    lines = message(write(folder / "chairs.json", faulty))
    expected = [
        "chairs.json: model.field.hiden: unknown. Did you mean 'hidden'? Accepted: type, hidden, omega",
        'chairs.json: model.field.omega: should be a valid number, unable to parse string as a number, got "fast"',
        "chairs.json: model.lifter: no component 'fkae'. Did you mean 'fake'? Installed: ",
        "chairs.json: loss.neus: should be greater than or equal to 0, got -1",
        "chairs.json: optimizer.parts: 'feld' is no slot of the model. Did you mean 'field'? Slots: ",
        "chairs.json: train.steps: missing",
        "chairs.json: train.precision: should be 'fp32', 'bf16' or 'fp16', got \"fp64\"",
        "chairs.json: viewz: unknown. Did you mean 'views'? Accepted: name, seed, ",
    ]
    assert len(lines) == len(expected)
    for start in expected:
        assert any(line.startswith(start) for line in lines), (start, lines)


@pytest.mark.parametrize(
    ("block", "told"),
    [
        ("fake", 'model.field: should be a block {"type": name, ...}, got "fake"'),
        ({"hidden": 3}, "model.field: 'type' is missing; installed: "),
        ({"type": "fake", "hidden": 0}, "model.field.hidden: should be greater than or equal to 1, got 0"),
    ],
)
def test_a_faulty_component_block(folder: Path, block: Any, told: str) -> None:
    (line,) = message(write(folder / "a.json", SPEC | {"model": MODEL | {"field": block}}))
    assert line.startswith(f"a.json: {told}")


def test_a_broken_component_is_told_with_its_cause(folder: Path, parts: FakeSite) -> None:
    parts.module("broken_field", "import no_such_library")
    parts.distribution("fake_broken", {"tunemv3d.field": {"broken": "broken_field:PLUGIN"}})
    (line,) = message(write(folder / "a.json", SPEC), ["model.field.type=broken"])
    assert line.startswith(
        "a.json: model.field: field broken (fake-broken 1.2): 'broken_field:PLUGIN' does not load: ModuleNotFoundError"
    )


@pytest.mark.parametrize("missing", MODEL_SLOTS[1:])
def test_the_3d_components_come_together_or_not_at_all(folder: Path, missing: str) -> None:
    name = write(folder / "a.json", SPEC)
    (line,) = message(name, [f"model.{missing}=null"])
    assert line.startswith("a.json: model: view_encoder, field, lifter and injector belong together")
    assert line.endswith(f"Missing: {missing}")
    plain = load_spec(name, [f"model.{slot}=null" for slot in MODEL_SLOTS[1:]]).model
    assert isinstance(plain, ModelSpec) and plain.field is None and plain.backbone.type == "fake"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"name": "a",\n  "seed": 1,,}', "a.json: line 2, column 13: not JSON: "),
        ("[1, 2]", "a.json: should be a JSON object, got [1, 2]"),
        ('{"seed": NaN}', "a.json: seed: NaN is not a finite number"),
        ('{"seed": 1, "seed": 2}', "a.json: 'seed' appears twice in one block"),
        ('{"extends": 3}', "a.json: extends: should be the name or path of one spec, got 3"),
        ('{"extends": "nowhere"}', "a.json: extends: no spec 'nowhere'. Installed: "),
        ("", "a.json: line 1, column 1: not JSON: "),
    ],
)
def test_faults_of_the_file(folder: Path, text: str, told: str) -> None:
    (line,) = message(write(folder / "a.json", text))
    assert line.startswith(told)


@pytest.mark.parametrize("told", ["../../x", "/x", "a/b", "a\\b", ".hidden", "..", "a\nb", "", "x" * 121])
def test_a_name_is_no_path(folder: Path, told: str) -> None:
    """The run's folder is made of it."""
    (line,) = message(write(folder / "a.json", SPEC | {"name": told}))
    assert line.startswith("a.json: name: should ")


@pytest.mark.parametrize("number", ["1e999", "-1e999"])
def test_options_of_components_are_finite(folder: Path, number: str) -> None:
    content = json.dumps(SPEC | {"model": MODEL | {"field": {"type": "fake", "omega": 0}}}).replace(
        '"omega": 0', f'"omega": {number}'
    )
    (line,) = message(write(folder / "a.json", content))
    assert line == f"a.json: model.field.omega: {float(number)} is not a finite number".replace("inf", "Infinity")
    with pytest.raises(ValueError, match="finite"):
        registry().get("field", "fake").plugin.spec(type="fake", omega=float(number))  # type: ignore[call-arg]


def test_files_that_cannot_be_read(folder: Path) -> None:
    (folder / "latin.json").write_bytes('{"name": "chaise percée"}'.encode("latin-1"))
    assert message("latin.json")[0].startswith("latin.json: not UTF-8 text: byte ")
    (folder / "folder.json").mkdir()
    assert message("folder.json") == ["folder.json: cannot be read: Is a directory"]
    assert message("nowhere.json")[0].endswith("'nowhere.json' is no file either")


def test_extends_a_file_beside_and_an_installed_spec(folder: Path, parts: FakeSite) -> None:
    write(parts.folder / "packaged.json", SPEC)
    parts.module("fake_specs", "from pathlib import Path\nBASE = Path(__file__).parent / 'packaged.json'\n")
    parts.distribution("fake_specs", {"tunemv3d.spec": {"base": "fake_specs:BASE"}})
    (folder / "sub").mkdir()
    write(folder / "sub" / "mid.json", {"extends": "base", "seed": 5, "train": {"batch": 2}})
    top = write(folder / "top.json", {"$schema": "spec.schema.json", "extends": "sub/mid.json", "train": {"steps": 7}})
    spec = load_spec(top)
    assert (spec.name, spec.seed, spec.train.steps, spec.train.batch) == ("test", 5, 7, 2)
    assert spec == RunSpec.model_validate(SPEC | {"seed": 5, "train": {"steps": 7, "batch": 2}})
    assert load_spec("base").train.steps == load_spec("fake-specs:base").train.steps == 100


def test_extends_opens_no_file_that_is_not_called_a_spec(folder: Path) -> None:
    write(folder / "secret.txt", {"seed": 3})
    (folder / "sub").mkdir()
    write(folder / "sub" / "a.json", {"extends": "../secret.txt"})
    (line,) = message("sub/a.json")
    assert "extends: no spec '../secret.txt'." in line and "is no file that ends in .json either" in line


def test_a_loop_of_extends_is_shown(folder: Path) -> None:
    write(folder / "a.json", {"extends": "b.json"})
    write(folder / "b.json", {"extends": "c.json"})
    write(folder / "c.json", {"extends": "a.json"})
    assert message("a.json") == ["extends goes in a loop: a.json -> b.json -> c.json -> a.json"]


@pytest.mark.parametrize(
    ("target", "patch", "merged"),
    [  # the cases of RFC 7396, appendix A, whose target and patch are objects
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        # and the exception
        ({"a": {"type": "x", "b": 1}}, {"a": {"type": "y"}}, {"a": {"type": "y"}}),
        ({"a": {"type": "x", "b": 1}}, {"a": {"type": "x", "c": 2}}, {"a": {"type": "x", "b": 1, "c": 2}}),
        ({"a": {"type": "x", "b": 1}}, {"a": {"c": 2}}, {"a": {"type": "x", "b": 1, "c": 2}}),
        (
            {"a": {"type": "x", "n": {"type": "p", "q": 1}}},
            {"a": {"n": {"type": "r"}}},
            {"a": {"type": "x", "n": {"type": "r"}}},
        ),
    ],
)
def test_merging(target: dict[str, Any], patch: dict[str, Any], merged: dict[str, Any]) -> None:
    before = json.dumps(target)
    assert merge(target, patch) == merged
    assert json.dumps(target) == before


def test_overrides(folder: Path) -> None:
    name = write(folder / "a.json", SPEC)
    told = [
        "model.field.omega=2.0",
        "train.precision=bf16",
        'optimizer.parts={"lifter.stem": {"warmup": 3}}',
        "name=a=b",
    ]
    spec = load_spec(name, told)
    assert spec.model.field.omega == 2.0  # type: ignore[union-attr]
    assert (spec.train.precision, spec.optimizer.parts["lifter.stem"].warmup, spec.name) == ("bf16", 3, "a=b")
    assert message(name, ["train.steps"]) == ["override 'train.steps': should look like model.field.omega=2.0"]
    assert message(name, ["train={"])[0].startswith("override 'train={': column 2 of the value: ")
    assert message(name, ["seed=NaN"])[0].startswith("override 'seed=NaN': NaN is not a finite number")
    assert message(name, ["seed.x=1"])[0].startswith("a.json: seed: should be a valid integer, got {")


positive = st.floats(1e-12, 1e6)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\."), min_size=1, max_size=63),
    seed=st.integers(0, 2**32 - 1),
    hidden=st.integers(1, 4096),
    omega=positive,
    lr=positive,
    scale=st.dictionaries(st.sampled_from(["field", "lifter.stem", "injector"]), positive),
    prompts=st.lists(st.text()),
    betas=st.tuples(st.floats(0, 0.9999), st.floats(0, 0.9999)),
)
def test_a_spec_survives_its_canonical_json(
    folder: Path,
    name: str,
    seed: int,
    hidden: int,
    omega: float,
    lr: float,
    scale: dict[str, float],
    prompts: list[str],
    betas: tuple[float, float],
) -> None:
    field = {"type": "fake", "hidden": hidden, "omega": omega}
    parts = {part: {"lr_scale": by} for part, by in scale.items()}
    spec = RunSpec.model_validate(
        SPEC
        | {"name": name, "seed": seed, "model": MODEL | {"field": field}}
        | {"optimizer": {"lr": lr, "parts": parts, "algorithm": {"betas": betas}}}
        | {"train": {"steps": 1, "preview_prompts": prompts}}
    )
    again = load_spec(write(folder / "again.json", canonical_json(spec)))
    assert again == spec and type(again.model.field) is type(spec.model.field)
    assert spec_id(again) == spec_id(spec)


def test_the_id_covers_defaults_and_not_the_way_of_writing(folder: Path) -> None:
    short = load_spec(write(folder / "short.json", SPEC))
    explicit = load_spec(
        write(folder / "long.json", SPEC | {"views": {"novel": 8}, "train": {"batch": 4, "steps": 100}})
    )
    assert canonical_json(short) == canonical_json(explicit)
    assert spec_id(short) == hashlib.sha256(canonical_json(short).encode()).hexdigest()
    assert spec_id(load_spec("short.json", ["model.field.omega=1.25"])) != spec_id(short)
    canonical = json.loads(canonical_json(short))
    assert canonical["model"]["field"] == {"type": "fake", "hidden": 128, "omega": 1.5}
    assert not {"$schema", "extends"} & canonical.keys()


def test_the_schema_accepts_and_refuses_what_the_loader_does(folder: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = spec_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid(SPEC)
    assert validator.is_valid(json.loads(canonical_json(load_spec(write(folder / "a.json", SPEC)))))
    assert validator.is_valid({"$schema": "x", "extends": "chairs", "seed": 3})
    assert not validator.is_valid({"seed": 3})
    assert not validator.is_valid(SPEC | {"model": MODEL | {"field": {"type": "fake", "hiden": 3}}})
    assert not validator.is_valid(SPEC | {"model": MODEL | {"field": {"type": "nothing"}}})


def test_options_without_a_schema_cost_only_their_own_component(parts: FakeSite) -> None:
    more = """
from collections.abc import Callable
class Odd(Options):
    hook: Callable[[int], int] | None = None
PLUGIN = ComponentPlugin("field", "odd", "1.0", Odd, "json:loads", "No JSON can hold its options")
"""
    parts.component("field", "odd", "fake-odd", more=more)
    field = spec_schema()["$defs"]["ModelSpec"]["properties"]["field"]
    names = [choice["properties"]["type"]["const"] for choice in field["anyOf"][0]["oneOf"]]
    assert "fake" in names and "odd" not in names


@pytest.mark.parametrize("name", ["os:system", "bystander", "bystander.run", "bystander:run"])
def test_a_spec_never_imports_what_it_names(folder: Path, parts: FakeSite, name: str) -> None:
    """Neither by a component's type nor by what it extends; only names of installed entry points are looked up."""
    parts.module("bystander", "def run(*arguments): pass")
    (line,) = message(write(folder / "a.json", SPEC | {"model": MODEL | {"backbone": {"type": name}}}))
    assert line.startswith(f"a.json: model.backbone: no component '{name}'.")
    (line,) = message(write(folder / "b.json", {"extends": name}))
    assert f"no spec '{name}'." in line and "is no file that ends in .json either" in line
    assert "bystander" not in sys.modules


def test_every_option_is_described() -> None:
    def undescribed(block: Any) -> list[str]:
        found = []
        for name, field in block.model_fields.items():
            inner = field.annotation
            found += undescribed(inner) if hasattr(inner, "model_fields") else []
            found += [] if field.description else [name]
        return found

    assert undescribed(RunSpec) == []


def test_names_and_overrides_that_no_disk_could_hold(folder: Path) -> None:
    name = write(folder / "a.json", SPEC)
    for stranger in ("x" * 5_000, "~nouser/spec", "a\0b", "a\nb: pip install c\x1b[2J", "\ud800"):
        for spec, overrides in (
            (stranger, ()),
            (write(folder / "b.json", {"extends": stranger}), ()),
            (name, (f"name={stranger}",)),
        ):
            (line,) = message(spec, overrides) if not (spec == name and stranger == "~nouser/spec") else ("",)
            assert len(line) < 2_000 and "\x1b" not in line and "\ud800" not in line
    (line,) = message(name, [".".join(["a"] * 5_000) + "=1"])
    assert "names 5000 blocks within each other" in line and len(line) < 300
    (line,) = message(name, ["seed=" + "9" * 5_000])
    assert "an integer of 5000 digits is too large" in line


def test_a_chain_of_a_thousand_specs_is_refused(folder: Path) -> None:
    write(folder / "0.json", SPEC)
    for number in range(1, 1_500):
        write(folder / f"{number}.json", {"extends": f"{number - 1}.json"})
    load_spec("30.json")
    assert message("1499.json") == ["1499.json: extends 33 specs in a row; at most 32 are read"]


def test_foreign_keys_invent_no_lines_and_move_no_cursor(folder: Path) -> None:
    (line,) = message(write(folder / "a.json", SPEC | {"x\nerror: pip install y\x1b]0;t\x07\u202e": 1}))
    assert line.startswith(r"a.json: x\nerror: pip install y\x1b]0;t\x07\u202e: unknown.")
    told = message(write(folder / "a.json", SPEC | {f"k{i}": 1 for i in range(60_000)}))
    assert len(told) == 51 and told[-1] == "a.json: and 59950 more faults"
