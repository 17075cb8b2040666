"""The bill of materials against CycloneDX's own schema and against importlib.metadata."""

import json
import re
from email.message import Message
from importlib import metadata
from pathlib import Path

import pytest

from tunemv3d_core.cli.sbom import _licences, bill_of_materials, sbom
from tunemv3d_core.errors import CheckpointError, TuneMV3DError


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("sbom") / "sbom.cdx.json"
    sbom(["furniture-mini", "furniture-mini"], out)
    return out.read_text(encoding="utf-8")


def test_it_is_what_the_schema_says(content: str) -> None:
    validation = pytest.importorskip("cyclonedx.validation.json")
    from cyclonedx.schema import SchemaVersion

    validator = validation.JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(content) is None
    broken = json.loads(content) | {"components": [{"type": "machine-learning-model"}]}
    assert validator.validate_str(json.dumps(broken)) is not None, "the validator tells"


def test_distributions_are_listed_once_with_licence_and_address(content: str) -> None:
    parts = [part for part in json.loads(content)["components"] if part["type"] == "library"]
    named = {re.sub(r"[-_.]+", "-", part["name"]).lower(): part for part in parts}
    assert len(named) == len(parts) and {"numpy", "torch", "tunemv3d-core"} <= named.keys()
    assert named["numpy"]["version"] == metadata.version("numpy")
    assert named["numpy"]["purl"] == f"pkg:pypi/numpy@{metadata.version('numpy')}"
    core = [{"expression": "Apache-2.0", "acknowledgement": "declared"}]
    assert named["tunemv3d-core"]["licenses"] == core


def test_what_needs_what(content: str) -> None:
    graph = {each["ref"]: each["dependsOn"] for each in json.loads(content)["dependencies"]}
    core = next(ref for ref in graph if ref.startswith("pkg:pypi/tunemv3d-core@"))
    needed = {ref.split("/")[1].split("@")[0] for ref in graph[core]}
    assert {"torch", "pydantic", "einops"} <= needed and "pytest" not in needed, "extras are not asked for"
    assert core in graph["tunemv3d"] and "model:furniture-mini" in graph["tunemv3d"]
    assert any(ref.startswith("pkg:pypi/tunemv3d-neus@") for ref in graph["model:furniture-mini"])


def test_the_model_says_whose_works_it_learned_from(content: str) -> None:
    (model,) = [part for part in json.loads(content)["components"] if part["type"] != "library"]
    folder = Path(__file__).parents[2] / "plugins/tunemv3d_mini/src/tunemv3d_mini/assets/furniture-mini"
    record = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    (dataset,) = model["modelCard"]["modelParameters"]["datasets"]
    assert {owner["contact"]["name"] for owner in dataset["governance"]["owners"]} == set(record["data"]["creators"])
    assert {entry["value"] for entry in dataset["contents"]["properties"]} == set(record["data"]["licences"])
    assert model["hashes"] == [{"alg": "SHA-256", "content": record["files"]["model.safetensors"]}]
    assert model["pedigree"]["ancestors"] == [{"type": "machine-learning-model", "name": "sd-mini"}]


def test_it_holds_no_place_of_this_machine(content: str) -> None:
    assert str(Path.home()) not in content and str(Path.cwd()) not in content and "file:" not in content


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        ([("License-Expression", "MIT OR Apache-2.0"), ("License", "x")], ["MIT OR Apache-2.0"]),
        ([("Classifier", "License :: OSI Approved :: BSD License"), ("Classifier", "Topic :: X")], ["BSD License"]),
        ([("Classifier", "License :: OSI Approved"), ("License", "MIT\n\nPermission is")], ["MIT"]),
        ([("License", "UNKNOWN")], []),
    ],
)
def test_licences_as_they_are_declared(declared: list[tuple[str, str]], told: list[str]) -> None:
    about = Message()
    for key, value in declared:
        about[key] = value.replace("\n", "\n        ")
    found = [each.get("expression") or each["license"]["name"] for each in _licences(about)]
    assert found == told


def test_what_cannot_be_listed_or_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint 'nowhere'"):
        bill_of_materials(["nowhere"])
    with pytest.raises(TuneMV3DError, match=r"--out .*cannot be written"):
        sbom([], tmp_path / "no/where.json")
