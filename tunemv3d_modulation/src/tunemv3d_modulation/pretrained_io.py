"""Read and write a pipeline's folder: a checkpoint (``tunemv3d_core.io.checkpoint``) and its scheduler's config."""

import json
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import diffusers
import torch
from diffusers import DiffusionPipeline, SchedulerMixin

from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import CheckpointError, TuneMV3DError, TuneMV3DWarning
from tunemv3d_core.io.base_model import Base
from tunemv3d_core.io.checkpoint import find_checkpoint, load_checkpoint, save_checkpoint
from tunemv3d_core.io.json_files import read_json
from tunemv3d_core.io.mismatch_policy import Policy
from tunemv3d_modulation.folder_components import INDEX, PIPELINE_FILE
from tunemv3d_modulation.pretrained.hub import download

DtypeChoice = torch.dtype | Callable[[RunSpec], torch.dtype]
"""Dtype of a model, or what tells it from the spec."""

SCHEDULER = "scheduler/scheduler_config.json"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@runtime_checkable
class Savable(Protocol):
    """A scheduler that can be written, as diffusers' can. Optional: a backbone makes its own anew."""

    def save_pretrained(self, save_directory: Path) -> Any:
        """Write ``scheduler_config.json`` into a folder."""
        ...


def load_folder(
    folder: Path,
    dtype: DtypeChoice,
    provenance: Policy | None = None,
    base: Base | None = None,
    options: Iterable[str] = (),
) -> tuple[RunSpec, MultiviewDiffusion, Any, dict[str, Any] | None]:
    """Read the spec, the model, its scheduler, and the record of the training data.

    Args:
        folder: of the checkpoint, as ``find_folder`` finds it.
        dtype: of the model, or what tells it from the spec.
        provenance: as ``load_checkpoint`` takes it.
        base: likewise.
        options: likewise.

    Raises:
        CheckpointError: no checkpoint there, or it cannot be read with what is installed.
    """
    spec, model = load_checkpoint(folder, dtype=dtype, provenance=provenance, base=base, options=options)
    told = diffusers.logging.get_logger(DiffusionPipeline.__module__)
    for component in ("model", "scheduler", "spec"):
        told.info(f"Loaded {component} of {folder}.")
    scheduler = model.backbone.scheduler(spec.sample.scheduler)
    if (folder / SCHEDULER).is_file():
        config = read_json(folder / SCHEDULER)
        written, own = str(config.get("_class_name")), type(scheduler)
        kind: Any = own if written == own.__name__ else getattr(diffusers, written, None)
        if kind is None:
            raise CheckpointError(f"{folder / SCHEDULER}: no scheduler {written!r} in diffusers or the backbone")
        scheduler = kind.from_config(config)
    return spec, model, scheduler, read_json(folder / "provenance.json").get("data")


def save_folder(
    folder: Path,
    model: MultiviewDiffusion,
    spec: RunSpec,
    scheduler: Any,
    data: dict[str, Any] | None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a checkpoint and the scheduler's config.

    Args:
        folder: its place; replaced if it is there.
        model: the model.
        spec: the spec that made it.
        scheduler: the scheduler; its config is left out where it is not ``Savable`` but the spec's own.
        data: of the provenance.
        dtype: of stored weights.

    Raises:
        CheckpointError: the disk is full or not writable, or a scheduler that is neither ``Savable`` nor the spec's.
    """
    kind = type(scheduler)
    if not isinstance(scheduler, Savable) and kind is not type(model.backbone.scheduler(spec.sample.scheduler)):
        raise CheckpointError(
            f"{folder}: scheduler '{kind.__name__}' has no save_pretrained, so it cannot be written; take one of "
            "diffusers', or the spec's own"
        )
    save_checkpoint(folder, model, spec, data=data, dtype=dtype)
    if not isinstance(scheduler, Savable):
        return
    try:
        scheduler.save_pretrained(folder / "scheduler")
    except OSError as error:
        raise CheckpointError(f"{folder}: the scheduler could not be written: {error}") from error


def write_index(folder: Path, scheduler: Any) -> None:
    """Write what ``DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)`` loads a checkpoint by.

    A scheduler that is none of diffusers' is in no index; the folder is read by ``TuneMV3DPipeline`` alone then.
    """
    if not isinstance(scheduler, SchedulerMixin):
        return
    index = {
        "_class_name": ["pipeline", "TuneMV3DPipeline"],
        "_diffusers_version": diffusers.__version__,
        **INDEX,
        "scheduler": ["diffusers", type(scheduler).__name__],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8", newline="\n")
    (folder / "pipeline.py").write_text(PIPELINE_FILE, encoding="utf-8", newline="\n")


def check_saving(safe_serialization: bool, variant: str | None) -> None:
    """Warn of a pickle that is not written, and refuse a variant.

    Raises:
        TuneMV3DError: a variant.
    """
    if variant is not None:
        raise TuneMV3DError(
            f"variant={variant!r}: a checkpoint holds one file of weights, not several beside each other; give dtype, "
            "such as dtype=torch.float16"
        )
    if not safe_serialization:
        warnings.warn(
            "weights are written as safetensors all the same, never as a pickle", TuneMV3DWarning, stacklevel=3
        )


def one_dtype(dtype: DtypeChoice | Mapping[str, torch.dtype]) -> DtypeChoice:
    """Return the dtype of the model, where several are given by component.

    Raises:
        TuneMV3DError: a component that has no dtype of its own.
    """
    if not isinstance(dtype, Mapping):
        return dtype
    if strays := sorted(dtype.keys() - {"model", "default"}):
        raise TuneMV3DError(
            f"dtype: the pipeline has no component {strays[0]!r} with a dtype of its own; give 'model' or 'default'"
        )
    return dtype.get("model", dtype.get("default", torch.float32))


def find_folder(name: str | Path, revision: str | None = None) -> Path:
    """Find the checkpoint's folder, downloaded where ``name`` is neither an asset nor a path but may be a hub id.

    Raises:
        CheckpointError: no checkpoint there.
    """
    try:
        return find_checkpoint(name)
    except CheckpointError as missing:
        if not _HUB_ID.fullmatch(str(name)) or Path(name).exists():
            raise
        try:
            return find_checkpoint(download(str(name), revision, _published_files))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{missing}; as a hub id: {' '.join(str(error).split())[:200]}") from None


def _published_files(names: list[str]) -> list[str]:
    return [name for name in names if name.endswith((".json", ".safetensors"))]
