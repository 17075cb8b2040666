"""The checkpoint folder: safetensors and JSON only, never a pickle.

::

    spec.json            the resolved spec
    model.safetensors    trainable parameters (their average where one was kept)
    state/               for resuming: tensors.safetensors and values.json
    provenance.json      components, versions, frozen model, data, checksums of all other files and of itself

A folder is written beside its place, waits for the disk and is renamed: neither an interrupted write nor a power cut
leaves anything that is mistaken for a checkpoint.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tunemv3d_core.assemble import assemble
from tunemv3d_core.config.loading import load_spec, with_model_options
from tunemv3d_core.config.old_names import current_tensor_names
from tunemv3d_core.config.run_spec import RunSpec, canonical_json, spec_id
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import BaseModelError, CheckpointError, PortsError, TuneMV3DError
from tunemv3d_core.finite import all_finite
from tunemv3d_core.foreign_text import shown
from tunemv3d_core.io.atomic import atomic_folder, write_text
from tunemv3d_core.io.base_model import HOW, Base, check_ports, chosen_base, ports_record, with_base
from tunemv3d_core.io.json_files import check_plain, is_folder, is_plain, read_json
from tunemv3d_core.io.mismatch_policy import Policy, apply_policy
from tunemv3d_core.io.provenance import check_components, check_frozen, check_record, provenance_of, sha256
from tunemv3d_core.plugins.assets import find_asset
from tunemv3d_core.plugins.descriptor import TRAINING_SLOTS

CHECKPOINT_FORMAT = "tunemv3d-checkpoint/2"
FIRST_FORMAT = "tunemv3d-checkpoint/1"
"""Without checksums of the state and of the provenance."""

_NEEDED = ("spec.json", "model.safetensors")
_STATE = "state/"


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Write ``provenance.json`` with its own checksum."""
    text = json.dumps({**record, "checksum": _checksum(record)}, indent=1, ensure_ascii=False)
    write_text(folder / "provenance.json", text + "\n", durable=True)


def _checksum(record: dict[str, Any]) -> str:
    """Return the SHA-256 of a record but for its checksum."""
    rest = {key: value for key, value in record.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def trainable_tensors(model: MultiviewDiffusion) -> dict[str, Tensor]:
    """Return all tensors that tuning changes, by name: the whole state of the slots and the backbone's trainable part.

    Tensors that a slot shares with the backbone belong to the backbone alone.
    """
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    state = model.state_dict(keep_vars=True)
    shared = {id(tensor) for name, tensor in state.items() if name.startswith("backbone.")}
    return {name: tensor.detach() for name, tensor in state.items() if name in trainable or id(tensor) not in shared}


def save_checkpoint(
    folder: Path,
    model: MultiviewDiffusion,
    spec: RunSpec,
    *,
    weights: dict[str, Tensor] | None = None,
    state: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> Path:
    """Write a checkpoint.

    Args:
        folder: its place; replaced if it is there.
        model: the model.
        spec: the resolved spec that made it.
        weights: values to store instead of the model's own, by name (a moving average).
        state: tensors and JSON values by name that resuming needs.
        data: the dataset's manifest for the provenance: its name, licences and attributions.
        dtype: stored type of floating-point weights; None keeps theirs.

    Raises:
        CheckpointError: the disk is full or not writable; what was there before stays.
    """
    try:
        with atomic_folder(folder, replace=True, durable=True) as beside:
            (beside / "spec.json").write_text(canonical_json(spec) + "\n", encoding="utf-8", newline="\n")
            tensors = {**trainable_tensors(model), **(weights or {})}
            save_file({k: _stored(v, dtype) for k, v in tensors.items()}, beside / "model.safetensors")
            if state is not None:
                _write_state(beside / "state", state)
            frozen = model.backbone.fingerprint()
            record = {
                "format": CHECKPOINT_FORMAT,
                "spec_id": spec_id(spec),
                **provenance_of(spec, frozen, data),
                "ports": ports_record(model.backbone.ports),
                "files": {
                    f.relative_to(beside).as_posix(): sha256(f) for f in sorted(beside.rglob("*")) if f.is_file()
                },
            }
            write_record(beside, record)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder}: the checkpoint could not be written: {error}. Make room or give write permission there; "
            "older checkpoints are untouched"
        ) from error
    return folder


def load_checkpoint(
    name: str | Path,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | Callable[[RunSpec], torch.dtype] = torch.float32,
    provenance: Policy | None = None,
    base: Base | None = None,
    options: Iterable[str] = (),
) -> tuple[RunSpec, MultiviewDiffusion]:
    """Load a checkpoint. The dataset's component need not be installed.

    Args:
        name: of a packaged one, its folder, or a run's folder (its last checkpoint).
        device: of the model.
        dtype: of the model, or what tells it from the checkpoint's spec.
        provenance: policy if a component has another version or other code than it was saved with, or if the
            frozen model differs; default: ``TUNEMV3D_PROVENANCE``, or "warn".
        base: another place of the pretrained model, or another model of the same kind (``base_model.with_base``);
            default: ``TUNEMV3D_BASE``, or the spec's own. The spec that is returned names it.
        options: of the model's components in place of the spec's, "model.field.samples=48"; the spec that is returned
            keeps its own.

    Raises:
        CheckpointError: no checkpoint there, incomplete, damaged, of another format, a component is missing, the base
            is of another kind, or something differs and ``provenance`` is "error".
        SpecError: an option that there is not, or one of something else than the model.
    """
    folder = find_checkpoint(name)
    record = check_checkpoint(folder)
    apply_policy(check_components(record["components"], folder), folder, provenance)
    try:
        spec = load_spec(str(folder / "spec.json"), unneeded=TRAINING_SLOTS, saved=True)
    except TuneMV3DError as error:
        raise CheckpointError(f"{folder}: its spec does not fit what is installed: {error}") from None
    spec = with_base(spec, chosen := chosen_base(base))
    try:
        model = assemble(
            with_model_options(spec, options).model, device, dtype if isinstance(dtype, torch.dtype) else dtype(spec)
        )
        check_ports(record.get("ports", {}), model.backbone.ports)
        load_weights(model, folder / "model.safetensors")
    except BaseModelError as error:
        raise CheckpointError(f"{folder}: its base model cannot be had: {str(error).rstrip('.')}. {HOW}") from error
    except (PortsError, CheckpointError) as error:
        if chosen is None:
            raise
        raise CheckpointError(
            f"{folder}: the base {chosen!r} does not go with it: {error}. Take the base that it was tuned on, or one "
            "derived from that"
        ) from error
    apply_policy(check_frozen(record["frozen"], model.backbone.fingerprint()), folder, provenance)
    return spec, model.eval()


def load_weights(
    model: MultiviewDiffusion, path: Path, copy: Callable[[Tensor, Tensor], object] = Tensor.copy_
) -> None:
    """Copy stored trainable weights into a model, casting to its types. Old names of tensors are understood.

    Args:
        model: the model.
        path: of a checkpoint's ``model.safetensors``.
        copy: puts the second tensor into the first, which is the model's.

    Raises:
        CheckpointError: the file cannot be read, names, shapes or kinds of numbers differ, or one is not finite.
    """
    own, stored = trainable_tensors(model), _tensors(path)
    current = current_tensor_names(model.components, stored)
    stored = {current[name]: tensor for name, tensor in stored.items()}
    missing, surplus = sorted(own.keys() - stored.keys()), sorted(stored.keys() - own.keys())
    both = sorted(own.keys() & stored.keys())
    wrong = [k for k in both if own[k].shape != stored[k].shape]
    untyped = [k for k in both if not _same_kind(own[k].dtype, stored[k].dtype)]
    if missing or surplus or wrong or untyped:
        problems = [
            f"{len(n)} {what} ({n[0]} ...)"
            for n, what in (
                (missing, "missing"),
                (surplus, "surplus"),
                (wrong, "of another shape"),
                (untyped, "of another kind of number"),
            )
            if n
        ]
        raise CheckpointError(
            f"{path}: the weights are not this model's: {', '.join(problems)}; "
            "the spec's model block must be the one that they were trained with"
        )
    if infinite := [k for k in both if not bool(all_finite(stored[k]))]:
        raise CheckpointError(
            f"{path}: {len(infinite)} tensors hold numbers that are not finite ({infinite[0]} ...): the training "
            "diverged, or the file is damaged; take an earlier checkpoint"
        )
    with torch.no_grad():
        for name, tensor in own.items():
            copy(tensor, stored[name])


def load_state(folder: Path) -> dict[str, Any]:
    """Load the state that resuming needs, as given to ``save_checkpoint``; tensors on the CPU.

    Raises:
        CheckpointError: the checkpoint was saved without it (such as a published one), or is damaged.
    """
    values = folder / "state" / "values.json"
    if not values.is_file():
        raise CheckpointError(f"{folder}: holds no state to resume from")
    try:
        check_checkpoint(folder, state=True)
        return {**_tensors(values.with_name("tensors.safetensors")), **read_json(values)}
    except TuneMV3DError as error:
        raise CheckpointError(f"{error}; remove {folder} to resume from the checkpoint before it") from None


def spec_ids(folder: Path) -> tuple[str, str]:
    """Return the ids by which samples name a checkpoint's spec: as it was saved, and as it reads with today's options.

    Raises:
        TuneMV3DError: its files cannot be read, or its spec does not fit what is installed.
    """
    today = load_spec(folder / "spec.json", unneeded=TRAINING_SLOTS, saved=True)
    return str(read_json(folder / "provenance.json").get("spec_id", "")), spec_id(today)


def find_checkpoint(name: str | Path) -> Path:
    """Find the folder of a packaged checkpoint, of a checkpoint, or of a run's last complete checkpoint.

    Raises:
        CheckpointError: none of these is there.
    """
    try:
        folder = find_asset(str(name))
    except TuneMV3DError as error:
        raise CheckpointError(f"no checkpoint '{name}': {error}") from None
    if is_folder(folder / "checkpoints"):
        steps = run_checkpoints(folder)
        if not steps:
            raise CheckpointError(f"{folder}: this run has no complete checkpoint yet")
        return steps[-1]
    if not is_plain(folder / "provenance.json"):
        raise CheckpointError(f"{folder}: not a checkpoint (no provenance.json) and not a run (no checkpoints/)")
    return folder


def run_checkpoints(run: Path) -> list[Path]:
    """List a run's complete checkpoints ``checkpoints/step-NNNNNN``, oldest first."""
    found = (run / "checkpoints").glob("step-*")
    complete = (f for f in found if re.fullmatch(r"step-[0-9]{1,18}", f.name) and is_plain(f / "provenance.json"))
    # As numbers: as text, step-1000000 would come before step-999999 and be pruned as the oldest.
    return sorted(complete, key=lambda f: int(f.name[5:]))


def check_checkpoint(folder: Path, state: bool = False) -> dict[str, Any]:
    """Read the provenance of a checkpoint, and check that its files are complete and undamaged.

    Args:
        folder: the checkpoint's.
        state: check also what resuming needs, which is larger than the weights.

    Raises:
        CheckpointError: incomplete, damaged, or of another format.
    """
    record = _read_record(folder)
    listed = {name: digest for name, digest in record["files"].items() if state or not name.startswith(_STATE)}
    needed = [*_NEEDED]
    if state and record["format"] != FIRST_FORMAT:
        needed += [f.relative_to(folder).as_posix() for f in sorted(folder.glob(f"{_STATE}*"))]
    if unlisted := [name for name in needed if name not in listed]:
        raise CheckpointError(f"{folder}: provenance.json has no checksum of {unlisted[0]}; restore it from a copy")
    for name, digest in listed.items():
        if not is_plain(folder / name):
            raise CheckpointError(f"{folder}: incomplete, {name} is missing")
        if sha256(folder / name) != digest:
            raise CheckpointError(f"{folder}: {name} is damaged (its checksum differs); restore it from a copy")
    return record


def _read_record(folder: Path) -> dict[str, Any]:
    """Read ``provenance.json`` and check it by itself."""
    record = read_json(folder / "provenance.json", CheckpointError)
    if record.get("format") not in (FIRST_FORMAT, CHECKPOINT_FORMAT):
        raise CheckpointError(
            f"{folder}: format is '{shown(record.get('format'))}'; this version reads {CHECKPOINT_FORMAT!r}"
        )
    check_record(record, folder / "provenance.json")
    if record["format"] != FIRST_FORMAT and record.get("checksum") != _checksum(record):
        raise CheckpointError(f"{folder}: provenance.json is damaged (its checksum differs); restore it from a copy")
    return record


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        check_plain(path)
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from None


_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def _same_kind(own: torch.dtype, stored: torch.dtype) -> bool:
    """Tell whether stored numbers can become the model's: floating-point numbers of 16 bits or more, or equal types."""
    return stored in _FLOATS if own in _FLOATS else own == stored


def _stored(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    tensor = tensor.detach().cpu()
    return (tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor).contiguous().clone()


def _write_state(folder: Path, state: dict[str, Any]) -> None:
    folder.mkdir()
    tensors = {k: v for k, v in state.items() if isinstance(v, Tensor)}
    save_file({k: _stored(v, None) for k, v in tensors.items()}, folder / "tensors.safetensors")
    values = {k: v for k, v in state.items() if k not in tensors}
    (folder / "values.json").write_text(json.dumps(values), "utf-8", newline="\n")
