"""What the processes of a run must have alike, asked before the first picture is encoded."""

import os
from collections.abc import Mapping
from datetime import timedelta

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import gather_object

from tunemv3d_core.config.run_spec import RunSpec, spec_id
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.io.provenance import versions
from tunemv3d_train.continuity import Fingerprint

ASKED = timedelta(seconds=5)
"""So long an answer of the launcher's is waited for."""


class ProcessesError(TuneMV3DError):
    """Something wrong that all processes find alike: the first of a machine says it, the others end silently."""


def said_by_another(error: TuneMV3DError) -> bool:
    """Tell whether another process that torchrun started has just ended with the same message, which then is enough.

    Where a spec or a dataset is wrong, all find it alike, before they have met. Torchrun's own store knows them all.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return False
    place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    times = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    try:
        store = dist.TCPStore(*place, is_master=False, timeout=ASKED)  # type: ignore[attr-defined]
        return int(store.add(f"error/{times}/{error}", 1)) > 1
    except (dist.DistError, RuntimeError):  # the launcher has gone: better twice than not at all
        return False


def check_devices() -> None:
    """Refuse more processes than this machine has GPUs: NCCL gives each one of its own.

    Raises:
        ProcessesError: there are more.
    """
    gpus, processes = torch.cuda.device_count(), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if torch.cuda.is_available() and processes > gpus:
        raise ProcessesError(
            f"{processes} processes for {gpus} GPU{'s' * (gpus > 1)} of this machine, and each needs one of its own: "
            f"start {gpus} (torchrun --nproc-per-node {gpus}), and raise train.accumulate for the same batch"
        )


def check_alike(accelerator: Accelerator, spec: RunSpec, data: Fingerprint, train_objects: int) -> None:
    """Refuse processes that would not train the same model; waits for all of them.

    Args:
        accelerator: of this process.
        spec: as it was resolved here.
        data: the dataset's fingerprint, as it is read here.
        train_objects: how many objects there are to learn from.

    Raises:
        ProcessesError: they differ, or are more than the objects.
    """
    count = accelerator.num_processes
    if count == 1:
        return
    if count > train_objects:
        raise ProcessesError(f"data: {count} processes for {train_objects} objects to learn from; start fewer")
    device = accelerator.device
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    mine = {"spec": spec_id(spec), "data": data["sha256"], "device": gpu, **versions()}
    others: list[Mapping[str, str]] = gather_object([mine])
    for rank, other in enumerate(others):
        if differing := sorted(name for name in mine if other.get(name) != others[0].get(name)):
            named = ", ".join(f"{name} ({_short(others[0][name])} and {_short(other[name])})" for name in differing)
            raise ProcessesError(
                f"the processes of ranks 0 and {rank} differ in {named}: give all the same spec, data and versions, "
                "and GPUs of one kind"
            )


def _short(value: str) -> str:
    """A hash by its first letters."""
    return value[:8] if len(value) == 64 else value
