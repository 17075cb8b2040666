"""Where a model came from: components, versions, frozen weights, data. Recorded on saving, compared on loading."""

import hashlib
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from tunemv3d_core.errors import CheckpointError, ComponentError
from tunemv3d_core.plugin import MODEL_SLOTS
from tunemv3d_core.registry import registry
from tunemv3d_core.spec import ModelSpec

_LIBRARIES = ("torch", "diffusers", "transformers", "safetensors", "tunemv3d-core")


def sha256(path: Path) -> str:
    """Hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def components(spec: ModelSpec) -> dict[str, dict[str, str]]:
    """Per slot: the component's name, distribution, version and interface version."""
    found = {}
    for slot in MODEL_SLOTS:
        part = getattr(spec, slot)
        if part is not None:
            entry = registry().get(slot, part.type)
            found[slot] = {
                "type": part.type,
                "distribution": entry.record.distribution,
                "version": entry.record.version,
                "api": entry.plugin.api,
            }
    return found


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that shape the result; those not installed are left out."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def check_components(recorded: dict[str, dict[str, str]], where: Path) -> list[str]:
    """Compare a checkpoint's components with what is installed.

    Returns:
        One sentence for each component of another version.

    Raises:
        CheckpointError: a component is missing; the message says what to install.
    """
    notes = []
    for slot, entry in recorded.items():
        name, wanted = entry["type"], f"{entry['distribution']}=={entry['version']}"
        try:
            record = registry().get(slot, name).record
        except ComponentError as error:
            raise CheckpointError(f"{where} needs the {slot} '{name}': pip install {wanted}\n{error}") from None
        if record.version != entry["version"]:
            notes.append(f"{slot} '{name}': saved with {wanted}, loaded with {record.distribution}=={record.version}")
    return notes


def check_frozen(recorded: dict[str, str], present: dict[str, str]) -> list[str]:
    """One sentence if the frozen model's files are not those that the checkpoint was tuned on."""
    changed = sorted(name for name, digest in recorded.items() if present.get(name) != digest)
    if not changed:
        return []
    return [f"the frozen model is not the one that this was tuned on; different: {', '.join(changed)}"]


def provenance(spec: ModelSpec, frozen: dict[str, str], data: dict[str, Any] | None) -> dict[str, Any]:
    """All of it as JSON."""
    return {"components": components(spec), "versions": versions(), "frozen": frozen, "data": data or {}}
