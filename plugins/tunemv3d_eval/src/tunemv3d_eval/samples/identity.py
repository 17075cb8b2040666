"""Identity of a checkpoint: what its samples are bound to."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunemv3d_core.config.run_spec import spec_id
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.generation import LoadedCheckpoint
from tunemv3d_core.io.checkpoint import find_checkpoint
from tunemv3d_core.io.json_files import read_json


@dataclass(frozen=True)
class Identity:
    """A checkpoint as it samples.

    Attributes:
        label: its name in the report and of its folder of samples.
        name: as it was asked for.
        spec_id: of its spec.
        weights_sha256: of its tuned weights.
        base: a hash of the base's files and their hashes.
        dtype: of the numbers.
        added: what was put on top of it (``Additions``).
    """

    label: str
    name: str
    spec_id: str
    weights_sha256: str
    base: str
    dtype: str
    added: dict[str, Any]

    @classmethod
    def of(cls, label: str, loaded: LoadedCheckpoint, added: dict[str, Any]) -> "Identity":
        """Read the identity of a checkpoint that is loaded."""
        model, files = loaded.model, read_json(find_checkpoint(loaded.name) / "provenance.json")["files"]
        return cls(
            label,
            loaded.name,
            spec_id(loaded.spec),
            files["model.safetensors"],
            digest(model.backbone.fingerprint()),
            str(model.dtype).removeprefix("torch."),
            added,
        )

    def as_json(self) -> dict[str, Any]:
        """Return what the report says of the checkpoint."""
        return dict(vars(self))

    def bound(self) -> dict[str, Any]:
        """Return what has to be equal for samples to be this checkpoint's, wherever its folder lies now."""
        return {name: value for name, value in vars(self).items() if name not in ("label", "name")}


def digest(value: Any) -> str:
    """Return the SHA-256 of a value's JSON with sorted keys, hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def labels(names: Sequence[str]) -> list[str]:
    """Return a short name for each checkpoint: the end of its path, as much of it as tells it from the others.

    Raises:
        TuneMV3DError: a checkpoint is given twice.
    """
    paths = [Path(name).parts if Path(name).parts else (name,) for name in names]
    for name in names:
        if names.count(name) > 1:
            raise TuneMV3DError(f"{name}: is given twice; name every checkpoint once")
    for length in range(1, max(map(len, paths)) + 1):
        found = ["-".join(part.strip("/\\:") for part in path[-length:]).strip("-.") for path in paths]
        if len(set(found)) == len(found) and all(found):
            return found
    raise TuneMV3DError(f"{', '.join(names)}: cannot be told apart by their paths; name them otherwise")
