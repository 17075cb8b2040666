"""Time of operators by what they compute and move: a roofline for each, and the processor that launches them."""

from collections.abc import Iterable

import torch

from tunemv3d_train.planning.devices import Device
from tunemv3d_train.planning.operations import Operation

HALF = (torch.bfloat16, torch.float16)

REACHED = {"product": 0.6, "convolution": 0.45, "attention": 0.5, "kernel": 0.12}
"""Share of a device's floating-point rate that operators reach. These and the next were chosen so that estimates meet
the measured steps of ``paper-shapenet-chair`` (``benchmarks/README.md``).
"""

MOVED = {"softplus": 0.2, "reduction": 0.2, "other": 0.45}
"""Share of its memory's rate: kernels of a step are small, and some wait for their arithmetic."""

CPU_MOVED = 3.0
"""The same of a CPU: most of what it works on lies in its caches."""

REDUCTIONS = frozenset(
    "sum mean linalg_vector_norm _foreach_norm cumsum sort topk native_layer_norm_backward "
    "native_group_norm_backward".split()
)

SHORTEST = 3e-6
"""Seconds of a GPU's shortest kernel."""

LAUNCH = {"forward": 40e-6, "backward": 26e-6, "again": 60e-6}
"""Seconds that the processor takes for an operator of the forward pass with the Python around it, of the backward pass,
and of what is computed again there.
"""


def seconds(operations: Iterable[Operation], device: Device, launched: bool = True) -> dict[str, float]:
    """Estimate the seconds of operators by part.

    A GPU works while the processor launches ahead: whichever is behind counts.

    Args:
        operations: in their order.
        device: whose rates are known.
        launched: whether the processor launches each; a CUDA graph has launched them all.
    """
    assert device.rates is not None
    on_gpu, again = device.place.type != "cpu", False
    launching = done = 0.0
    parts: dict[str, float] = {}
    for each in operations:
        again = again or each.backward
        took = _seconds(each, device)
        if on_gpu:
            took = max(took, SHORTEST)
            if launched:
                launching += LAUNCH["backward" if each.backward else "again" if again else "forward"]
        later = max(launching, done) + took
        parts[each.part] = parts.get(each.part, 0.0) + later - done
        done = later
    return parts


def moving(operations: Iterable[Operation], device: Device) -> float:
    """Estimate the seconds of operators that share few kernels, as an optimizer's do over all weights."""
    assert device.rates is not None
    return sum(each.moved for each in operations) / (device.rates.moved * MOVED["other"])


def _seconds(operation: Operation, device: Device) -> float:
    assert device.rates is not None
    rates, kind = device.rates, _kind(operation)
    share = CPU_MOVED if device.place.type == "cpu" else MOVED.get(kind, MOVED["other"])
    moving = operation.moved / (rates.moved * share)
    if not operation.flops:
        return moving
    single = rates.tf32 if kind == "convolution" else rates.single
    rate = rates.half if operation.dtype in HALF else single
    return max(moving, operation.flops / (rate * REACHED[kind]))


def _kind(operation: Operation) -> str:
    if "::" in operation.name:
        return "kernel"
    if operation.flops:
        known = {"conv": "convolution", "attention": "attention"}
        return next((kind for word, kind in known.items() if word in operation.name), "product")
    if "softplus" in operation.name:
        return "softplus"
    return "reduction" if operation.name in REDUCTIONS else "other"
