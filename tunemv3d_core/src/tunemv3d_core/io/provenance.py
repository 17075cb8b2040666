"""Provenance of a model: components, versions, frozen weights, data. Recorded on saving, compared on loading."""

import hashlib
import platform
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from tunemv3d_core.config.component_fields import parts_of
from tunemv3d_core.config.component_spec import UnreadSpec
from tunemv3d_core.config.errors import describe_errors, spec_error
from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.errors import CheckpointError, ComponentError
from tunemv3d_core.foreign_text import shown
from tunemv3d_core.io.code_hash import code_hash, package_hash
from tunemv3d_core.io.file_names import is_inside
from tunemv3d_core.plugins.descriptor import how_to_install
from tunemv3d_core.plugins.discovery import normalised
from tunemv3d_core.plugins.registry import Component, registry

_LIBRARIES = ("torch", "diffusers", "transformers", "safetensors", "tunemv3d-core")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def components(spec: BaseModel) -> dict[str, dict[str, str]]:
    """Return the origin of each component of a block by its place: "field", "field.aggregator".

    An origin holds slot, name, distribution, version, interface version, and the hash of the code that its ``build``
    reaches, where it lies in files. Those that are not installed, and not needed, are left out.
    """
    found = {}
    for place, slot, part in parts_of(spec):
        if isinstance(part, UnreadSpec):
            continue
        component = registry().get(slot, part.type)
        found[place] = {
            "slot": slot,
            "type": part.type,
            "distribution": component.record.distribution,
            "version": component.record.version,
            "api": component.plugin.api,
            "code": code_hash(component),
        }
    return found


def versions() -> dict[str, str]:
    """Return versions of Python and of the libraries that shape the result; those not installed are left out."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _below(name: str) -> str:
    if not is_inside(name):
        raise spec_error("is no file of the checkpoint")
    return name


class _Entry(BaseModel):
    """Record of one component, as far as it is read again.

    The first checkpoints hold no slot and no hash; later ones the ``hash`` of a whole package, then that of the
    ``code`` alone that a component is built from.

    Messages ask people to install these names and versions, so nothing else may stand there.
    """

    type: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f\s]+$", max_length=200)]
    distribution: Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$", max_length=200)]
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.!+_-]*$", max_length=100)]
    slot: Annotated[str, Field(pattern=r"^[a-z_]*$", max_length=50)] = ""
    hash: Annotated[str, Field(pattern=r"^[0-9a-f]*$", max_length=64)] = ""
    code: Annotated[str, Field(pattern=r"^[0-9a-f]*$", max_length=64)] = ""


_Place = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$", max_length=200)]
_Digest = Annotated[str, Field(max_length=200)]
_FileName = Annotated[str, AfterValidator(_below)]


class _Record(BaseModel):
    """Part of ``provenance.json`` that is read again."""

    components: dict[_Place, _Entry]
    losses: dict[_Place, _Entry] = {}
    optimizer: dict[_Place, _Entry] = {}
    frozen: dict[str, _Digest]
    ports: dict[str, Any] = {}
    files: dict[_FileName, _Digest]


def check_record(record: dict[str, Any], path: Path) -> None:
    """Refuse a ``provenance.json`` with missing or malformed entries.

    Raises:
        CheckpointError: one line per error.
    """
    try:
        _Record.model_validate(record)
    except ValidationError as error:
        lines = [f"{path}: {line}" for line in describe_errors(error, _Record, record)]
        raise CheckpointError("\n".join([*lines, "restore the file from a copy"])) from None


def check_components(recorded: dict[str, dict[str, str]], where: Path) -> list[str]:
    """Compare a checkpoint's components with what is installed.

    Returns:
        One sentence per distribution of another version, or of the same version with other code.

    Raises:
        CheckpointError: a component is missing; the message says what to install.
    """
    differences: dict[str, list[str]] = {}
    for place, entry in recorded.items():
        difference = _difference(entry, _installed(place, entry, where))
        if difference:
            differences.setdefault(difference, []).append(f"{place} '{entry['type']}'")
    return [f"{line} ({', '.join(parts)})" for line, parts in differences.items()]


def _installed(place: str, entry: dict[str, str], where: Path) -> Component:
    slot, name = entry.get("slot", place), entry["type"]
    try:
        return registry().get(slot, name)
    except ComponentError as error:
        there = any((r.slot, r.name) == (slot, name.rpartition(":")[2]) for r in registry().everything())
        problem = (
            f"was saved with {_wanted(entry)} and cannot be used here"
            if there
            else f"is needed: {how_to_install(normalised(entry['distribution']), _version(entry))}"
        )
        raise CheckpointError(f"{where}: the {slot} '{name}' {problem}\n{error}") from None


def _wanted(entry: dict[str, str]) -> str:
    version = _version(entry)
    return f"{entry['distribution']}=={version}" if version else entry["distribution"]


def _version(entry: dict[str, str]) -> str:
    return "" if entry["version"] == "unknown" else entry["version"]


def _difference(entry: dict[str, str], component: Component) -> str | None:
    wanted, present = _wanted(entry), f"{component.record.distribution}=={component.record.version}"
    if wanted != present:
        return f"saved with {wanted}, {present} is installed"
    if _code_differs(entry, component):
        return f"saved with {wanted}, whose code has changed since, although its version has not"
    return None


def _code_differs(entry: dict[str, str], component: Component) -> bool:
    if "code" in entry:
        return entry["code"] != code_hash(component)
    return "hash" in entry and entry["hash"] != package_hash(component)


def check_frozen(recorded: dict[str, str], present: dict[str, str]) -> list[str]:
    """Return one sentence if the frozen model's files are not those that the checkpoint was tuned on, else nothing."""
    changed = sorted(name for name, digest in recorded.items() if present.get(name) != digest)
    if not changed:
        return []
    return [f"the frozen model is not the one that this was tuned on; different: {_some(changed)}"]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(shown(name, 120) for name in names[:8]) + more


def provenance_of(spec: RunSpec, frozen: dict[str, str], data: dict[str, Any] | None) -> dict[str, Any]:
    """Return all of it as JSON. Of losses and optimizers, which only training needs, nothing is compared on loading."""
    parts = {"components": components(spec.model), "losses": components(spec.loss)}
    parts["optimizer"] = components(spec.optimizer)
    return {**parts, "versions": versions(), "frozen": frozen, "data": data or {}}
