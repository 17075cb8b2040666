"""A step tried on the device that is here, on noise and with random weights: its time, and the memory that it took."""

import gc
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_train.planning.devices import Device
from tunemv3d_train.planning.following import Following
from tunemv3d_train.planning.live_memory import LiveMemory
from tunemv3d_train.planning.parts import AtWork
from tunemv3d_train.planning.prepared import Prepared, skeleton

WARM_UP = {"cuda": 3, "mps": 3, "cpu": 1}
"""Steps that are not timed, by the type of device: libraries choose their kernels, allocators get their memory."""

TIMED = {"cuda": 5, "mps": 5, "cpu": 1}
"""Steps that are timed."""


@dataclass(frozen=True)
class Measured:
    """What steps took.

    Attributes:
        seconds: of a step, the median.
        peak: bytes of tensors that lived at once, at most; None where the device does not tell.
    """

    seconds: float
    peak: int | None


def measure(spec: RunSpec, device: Device, maps: Mapping[str, int]) -> Measured:
    """Do a few steps.

    Args:
        spec: of the run.
        device: that is here.
        maps: channels of the dataset's maps, by name.

    Raises:
        torch.OutOfMemoryError: they do not fit.
    """
    kind = device.place.type
    try:
        return _measured(spec, device, maps)
    finally:
        # Now, not when Python next looks: what follows may need the memory.
        gc.collect()
        if kind == "cuda":
            torch.cuda.empty_cache()


def _measured(spec: RunSpec, device: Device, maps: Mapping[str, int]) -> Measured:
    prepared = Prepared(spec, skeleton(spec, maps), device.place, real=True)
    peak = _peak(prepared, spec, device)
    return Measured(statistics.median(_timed(prepared, spec, device) for _ in range(TIMED[device.place.type])), peak)


def _peak(prepared: Prepared, spec: RunSpec, device: Device) -> int | None:
    """Warm up, and return the most memory of a step."""
    kind = device.place.type
    if kind == "cpu":
        memory = LiveMemory(kind, AtWork(), block=1)
        memory.follow_all(prepared)
        memory.begin()
        with Following([memory]):
            _timed(prepared, spec, device)
        return memory.peak
    for _ in range(WARM_UP[kind] - 1):
        _timed(prepared, spec, device)
    if kind == "cuda":
        torch.cuda.reset_peak_memory_stats(device.place)
    _timed(prepared, spec, device)
    return torch.cuda.max_memory_allocated(device.place) if kind == "cuda" else None


def _timed(prepared: Prepared, spec: RunSpec, device: Device) -> float:
    """Do a step and return its seconds."""
    start = time.perf_counter()
    for _ in range(spec.train.accumulate):
        prepared.one_pass()
    prepared.update()
    if device.place.type != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter() - start
