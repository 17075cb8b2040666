"""Which training steps are captured as CUDA graphs, and what is said of those that are not."""

import warnings
from collections.abc import Callable

import torch
from accelerate import Accelerator

from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.console import messages
from tunemv3d_core.cuda_graph import CapturedStep, Tensors
from tunemv3d_core.errors import TuneMV3DWarning

WARMUP_STEPS = 11
"""Real steps before the capture."""


def captured_training(
    step: Callable[[Tensors], Tensors], forget: Callable[[], None], device: torch.device
) -> CapturedStep[Tensors]:
    """Make a training step one that is captured; where that fails, training goes on eagerly after one warning.

    Args:
        step: see ``CapturedStep``.
        forget: drops what a failed capture may have left behind, such as gradients in the graph's memory.
        device: where the step computes, a GPU.
    """

    def failed(reason: str) -> None:
        forget()
        warnings.warn(
            f"the training step cannot be captured as a CUDA graph and runs eagerly, slower: {reason}. "
            "Set train.cuda_graph to false to silence this",
            TuneMV3DWarning,
            stacklevel=2,
        )

    return CapturedStep(step, WARMUP_STEPS, failed, torch.cuda.Stream(device))  # type: ignore[no-untyped-call]


def obstacle(spec: RunSpec, device_type: str, processes: int) -> str | None:
    """Say what keeps a run's steps from being captured, as far as that is known before its model is there."""
    reasons = {
        "there is no GPU": device_type != "cuda",
        "several processes train together": processes > 1,
        "train.accumulate is not 1": spec.train.accumulate != 1,
        "fp16 scales its loss on the host": spec.train.precision == "fp16",
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def will_capture(spec: RunSpec, device_type: str, processes: int = 1) -> bool:
    """Tell whether a run's steps are to be captured, as far as that is known before its model is there."""
    return spec.train.cuda_graph and obstacle(spec, device_type, processes) is None


def capturable(spec: RunSpec, accelerator: Accelerator, unfit: str | None = None) -> bool:
    """Tell whether the step runs as a CUDA graph; says once why not where the spec asks for it in vain.

    Args:
        spec: of the run.
        accelerator: device, precision, processes.
        unfit: name of an optimizer that cannot be in one.
    """
    if not spec.train.cuda_graph:
        return False
    reason = obstacle(spec, accelerator.device.type, accelerator.num_processes)
    if reason is None and unfit is not None:
        reason = f"{unfit} is not an optimizer that can be captured"
    if reason and accelerator.is_main_process:
        messages.print(f"train.cuda_graph: off, because {reason}", style="yellow")
    return reason is None
