"""The pretrained model under a checkpoint: another one in its place, and what is told of it when it is published."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pydantic import ValidationError

from tunemv3d_core.config.component_spec import ComponentSpec, HasPretrained
from tunemv3d_core.config.errors import describe_errors
from tunemv3d_core.config.run_spec import RunSpec, canonical_json
from tunemv3d_core.errors import CheckpointError
from tunemv3d_core.io.file_names import exists, is_absolute, path_of, without_paths
from tunemv3d_core.io.json_files import parse
from tunemv3d_core.plugins.descriptor import TRAINING_SLOTS
from tunemv3d_core.plugins.registry import registry
from tunemv3d_core.ports import BackbonePorts

BASE = "TUNEMV3D_BASE"
"""Environment variable that names the base of every checkpoint that is loaded without one being given."""

HOW = f"Point at it by --base PATH_OR_ID, by from_pretrained(..., base=...) or by the variable {BASE}"

Base = str | Mapping[str, Any]
"""A path or a name of a base model, or options of the backbone that say more of it, as a mapping or as JSON."""

_HUB_CACHE = re.compile(r"models--([^/\\]+?)--([^/\\]+)[/\\]snapshots[/\\]([0-9a-f]{40})")


def chosen_base(given: Base | None) -> Base | None:
    """Return the base that is given, else the environment's, else None."""
    return given or os.environ.get(BASE) or None


def with_variant(base: Base | None, variant: str | None) -> Base | None:
    """Return a base, the chosen one where none is given, with a word of its files' names such as "fp16"."""
    if variant is None:
        return base
    chosen = chosen_base(base)
    return {**({} if chosen is None else _options(chosen)), "variant": variant}


def with_base(spec: RunSpec, base: Base | None) -> RunSpec:
    """Put another base under a checkpoint's spec.

    Args:
        spec: of the checkpoint.
        base: a path or id, or options of the backbone such as ``{"pretrained": ..., "variant": "fp16"}``. What the spec
            says of its own base, its revision among it, is forgotten where another is named. None changes nothing.

    Raises:
        CheckpointError: the backbone has no base that could be changed, or the options are none of its.
    """
    if base is None:
        return spec
    backbone = spec.model.backbone
    if not isinstance(backbone, HasPretrained):
        raise CheckpointError(f"base: the backbone '{backbone.type}' is not made from a pretrained model; leave it out")
    options = _options(base)
    named = "pretrained" in options
    kept = backbone.model_dump(exclude=set(backbone.pretrained_options) if named else None)
    content = {**kept, **options}
    try:
        changed: ComponentSpec = type(backbone).model_validate(content)
    except ValidationError as error:
        told = "; ".join(describe_errors(error, type(backbone), content))
        raise CheckpointError(f"base: {told}") from None
    return spec.model_copy(update={"model": spec.model.model_copy(update={"backbone": changed})})


def _options(base: Base) -> dict[str, Any]:
    if not isinstance(base, str):
        return dict(base)
    if not base.lstrip().startswith("{"):
        return {"pretrained": base}
    try:
        return dict(parse(base))
    except ValueError as error:
        raise CheckpointError(f"base: neither a name nor JSON: {error}") from None


def ports_record(ports: BackbonePorts) -> dict[str, Any]:
    """Return a backbone's ports as JSON, for the provenance."""
    return dict(json.loads(json.dumps(asdict(ports))))


def check_ports(recorded: Mapping[str, Any], ports: BackbonePorts) -> None:
    """Refuse a base of another kind than the one that a checkpoint was tuned on; its own size may differ.

    Args:
        recorded: as ``ports_record`` gave it; the first checkpoints recorded none.
        ports: of the present backbone.

    Raises:
        CheckpointError: names what differs.
    """
    present = ports_record(ports)
    differing = [
        f"{name} {_short(present[name])} in place of {_short(value)}"
        for name, value in recorded.items()
        if name != "latent_size" and name in present and present[name] != value
    ]
    if differing:
        raise CheckpointError(f"it is a model of another kind ({'; '.join(differing)})")


def _short(value: Any) -> str:
    return f"of {len(value)} maps" if isinstance(value, list) else str(value)


def published(spec: RunSpec, base_model: str = "") -> RunSpec:
    """Return a spec without this machine's paths, as it is published.

    The base keeps its name where that is an asset's or a hub id; of a download in the hub's cache the id is told; any
    other path is left out, and who loads the checkpoint says where the base is. Of other paths the last part stays.

    Args:
        spec: the spec.
        base_model: the name by which the base is published; "" keeps the spec's.

    Raises:
        CheckpointError: a ``base_model`` for a backbone that is not made from one.
    """
    backbone = spec.model.backbone
    if base_model:
        spec = with_base(spec, base_model)
    elif isinstance(backbone, HasPretrained):
        if found := _HUB_CACHE.search(str(path_of(backbone.pretrained))):
            said = {"pretrained": f"{found[1]}/{found[2]}"}
            spec = with_base(spec, said | ({"revision": found[3]} if "revision" in backbone.pretrained_options else {}))
        elif _is_path(backbone.pretrained):
            spec = with_base(spec, {"pretrained": ""})
    content = without_paths(json.loads(canonical_json(spec)))
    return RunSpec.model_validate(content, context=TRAINING_SLOTS)


def _is_path(name: str) -> bool:
    if name in registry().names("asset"):
        return False
    return is_absolute(name) or name.startswith(".") or exists(path_of(name))
