"""``tunemv3d sbom``: what is installed here, and models, as a software bill of materials (CycloneDX 1.6, JSON)."""

import json
import uuid
from datetime import UTC, datetime
from email.message import Message
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from tunemv3d_core import __version__
from tunemv3d_core.console import print_json
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.io.atomic import write_text
from tunemv3d_core.io.file_names import without_paths
from tunemv3d_core.io.generated import GeneratedBy, model_name

_ROOT = "tunemv3d"
_OWN = "tunemv3d-"
"""How the names of this project's distributions begin."""


def sbom(
    checkpoints: Annotated[
        list[str] | None, typer.Argument(help="Checkpoints to list as models: packaged names, or folders.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write; default: standard output.")] = None,
) -> None:
    """List what is installed here, with licences, and models with what they learned from (CycloneDX 1.6)."""
    content = bill_of_materials(checkpoints or [])
    if out is None:
        print_json(content)
        return
    try:
        write_text(out, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        raise TuneMV3DError(f"--out {out}: cannot be written: {error}; choose another file") from error


def bill_of_materials(checkpoints: list[str]) -> dict[str, Any]:
    """Return the installed distributions, how they depend on each other, and models, as CycloneDX 1.6.

    Raises:
        CheckpointError: one of the checkpoints is not there, or damaged.
    """
    installed: dict[str, metadata.Distribution] = {
        canonicalize_name(found.name): found for found in reversed(list(metadata.distributions())) if found.name
    }
    refs: dict[str, str] = {name: f"pkg:pypi/{name}@{found.version}" for name, found in sorted(installed.items())}
    graph = {refs[name]: [refs[each] for each in _required(found) if each in refs] for name, found in installed.items()}
    models = []
    for name in dict.fromkeys(checkpoints):
        model, parts = _model(name)
        models.append(model)
        graph[model["bom-ref"]] = [refs[part] for part in parts if part in refs]
    graph[_ROOT] = [ref for name, ref in refs.items() if name.startswith(_OWN)] + [each["bom-ref"] for each in models]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid4()}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
            "tools": {"components": [{"type": "application", "name": "tunemv3d-core", "version": __version__}]},
            "component": {"type": "application", "bom-ref": _ROOT, "name": _ROOT, "version": __version__},
        },
        "components": [*(_library(installed[name], ref) for name, ref in refs.items()), *models],
        "dependencies": [{"ref": ref, "dependsOn": sorted(set(graph[ref]))} for ref in sorted(graph)],
    }


def _required(found: metadata.Distribution) -> list[str]:
    """Return the names that a distribution requires here, without extras; none where its metadata are malformed."""
    try:
        needed = [Requirement(line) for line in found.requires or []]
    except InvalidRequirement:
        return []
    return [canonicalize_name(r.name) for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]


def _library(found: metadata.Distribution, ref: str) -> dict[str, Any]:
    about = {"type": "library", "bom-ref": ref, "name": found.name, "version": found.version, "purl": ref}
    licences = _licences(cast(Message, found.metadata))
    return {**about, **({"licenses": licences} if licences else {})}


def _licences(about: Message) -> list[dict[str, Any]]:
    """Return what a distribution declares: an SPDX expression, else classifiers, else the licence's first line."""
    if expression := about.get("License-Expression"):
        return [{"expression": str(expression), "acknowledgement": "declared"}]
    classifiers = [str(line).split(" :: ") for line in about.get_all("Classifier") or []]
    names = [parts[-1] for parts in classifiers if parts[0] == "License" and parts[-1] != "OSI Approved"]
    free = str(about.get("License") or "").strip().partition("\n")[0]
    names = names or ([free] if free and free != "UNKNOWN" else [])
    return [{"license": {"name": name, "acknowledgement": "declared"}} for name in names]


def _model(name: str) -> tuple[dict[str, Any], list[str]]:
    """Return a checkpoint as a component, and the names of the distributions that it needs."""
    # Heavy: torch.
    from tunemv3d_core.io.checkpoint import check_checkpoint, find_checkpoint
    from tunemv3d_core.io.json_files import read_json

    folder = find_checkpoint(name)
    record, spec = check_checkpoint(folder), read_json(folder / "spec.json")
    data, shown = record.get("data") or {}, model_name(name)
    by = GeneratedBy.of({"checkpoint": name, "data": data})
    base = without_paths(str(spec.get("model", {}).get("backbone", {}).get("pretrained") or ""))
    known = {"spec_id": str(record.get("spec_id", "")), "format": str(record["format"])}
    component = {
        "type": "machine-learning-model",
        "bom-ref": f"model:{shown}",
        "name": shown,
        "hashes": [{"alg": "SHA-256", "content": record["files"]["model.safetensors"]}],
        "properties": [{"name": f"tunemv3d:{key}", "value": value} for key, value in known.items() if value],
        "modelCard": {
            "modelParameters": {
                "task": "text-to-3d",
                "architectureFamily": "latent diffusion",
                "modelArchitecture": "an adapter of TuneMV3D on a frozen 2D model",
                "inputs": [{"format": "text"}],
                "outputs": [{"format": "image/png"}, {"format": "model/gltf-binary"}],
                "datasets": [_dataset(by, data)],
            }
        },
    }
    if base:
        component["pedigree"] = {"ancestors": [{"type": "machine-learning-model", "name": base}]}
    return component, [canonicalize_name(part["distribution"]) for part in record["components"].values()]


def _dataset(by: GeneratedBy, data: dict[str, Any]) -> dict[str, Any]:
    """Return what a model learned from: whose works, and under which licences."""
    own = data.get("dataset")
    told = without_paths(own) if isinstance(own, dict) else {}
    described = [f"{by.objects} objects"] if by.objects else ["not recorded"]
    described += [str(told[key]) for key in ("recipe",) if told.get(key)]
    found: dict[str, Any] = {
        "type": "dataset",
        "name": Path(str(told.get("path") or f"training data of {by.model}")).name,
        "description": ": ".join(described),
    }
    if by.licences:
        licences = [{"name": "tunemv3d:licence", "value": licence} for licence in by.licences]
        found["contents"] = {"properties": licences}
    if by.creators:
        found["governance"] = {"owners": [{"contact": {"name": creator}} for creator in by.creators]}
    return found
