"""Device, precision and processes of a run."""

import os

from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import AutocastKwargs, DistributedDataParallelKwargs, InitProcessGroupKwargs

from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.devices import preferred_device
from tunemv3d_core.errors import SpecError
from tunemv3d_train.agreement import check_devices
from tunemv3d_train.cuda_graph import will_capture
from tunemv3d_train.ranks import WAIT


def accelerate(spec: RunSpec) -> Accelerator:
    """Device, precision and processes.

    Raises:
        SpecError: fp16 without a GPU or with shards, a precision that this device does not have, or a launcher that
            asks for what the spec says.
        ProcessesError: more processes than GPUs.
    """
    check_devices()
    device = preferred_device()
    if spec.train.precision == "fp16" and device == "cpu":
        raise SpecError("train.precision: 'fp16' needs a GPU; use 'fp32' or 'bf16'")
    if spec.train.precision == "fp16" and spec.train.parallel == "fsdp2":
        raise SpecError("train.precision: 'fp16' scales the loss of whole gradients; use 'bf16' with fsdp2")
    for name in ("FSDP", "DEEPSPEED"):
        if os.environ.get(f"ACCELERATE_USE_{name}", "false") == "true":
            raise SpecError(
                f"Accelerate is set to use {name}, which the spec says here: launch with --multi_gpu (in its file, "
                "distributed_type: MULTI_GPU), and set train.parallel to 'ddp' or 'fsdp2'"
            )
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    AcceleratorState._reset_state()  # an earlier run of this process may have had another precision
    try:
        return Accelerator(
            cpu=device == "cpu",
            mixed_precision={"fp32": "no"}.get(spec.train.precision, spec.train.precision),
            gradient_accumulation_steps=spec.train.accumulate,
            kwargs_handlers=[
                # Cached casts of a weight would outlive the step that a CUDA graph captures.
                AutocastKwargs(cache_enabled=not will_capture(spec, device, processes)),
                DistributedDataParallelKwargs(broadcast_buffers=False),
                InitProcessGroupKwargs(timeout=WAIT),
            ],
        )
    except ValueError as error:  # an older Apple has no bf16
        named = f"train.precision: '{spec.train.precision}'"
        raise SpecError(f"{named} cannot be had on {device} ({error}); use 'fp32'") from None
