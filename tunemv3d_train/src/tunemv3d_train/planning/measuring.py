"""A step tried on the device that is here, on noise and with random weights: its time, and the memory that it took."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import torch

from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.cuda_graph import Tensors
from tunemv3d_train.batches import Batch
from tunemv3d_train.cuda_graph import WARMUP_STEPS, captured_training, will_capture
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
    kind = device.place.type
    prepared = Prepared(spec, skeleton(spec, maps), device.place, real=True)
    step, warm_up = _step(prepared, spec, device)
    peak = _warmed_up(step, warm_up, prepared, device)
    return Measured(statistics.median(_timed(step, kind) for _ in range(TIMED[kind])), peak)


def _step(prepared: Prepared, spec: RunSpec, device: Device) -> tuple[Callable[[], object], int]:
    """Return what does a step, as a CUDA graph where the run's would be one, and how many it takes to warm up."""
    warm_up = WARM_UP[device.place.type]
    if not will_capture(spec, device.place.type) or prepared.optimisation.uncapturable:
        return prepared.step, warm_up

    def whole(batch: Tensors) -> Tensors:
        prepared.batch = cast(Batch, batch)
        prepared.step()
        return {}

    batch = cast(Tensors, dict(prepared.batch))
    captured = captured_training(whole, prepared.optimisation.zero_grad, device.place)
    return lambda: captured(batch), WARMUP_STEPS + warm_up


def _warmed_up(step: Callable[[], object], times: int, prepared: Prepared, device: Device) -> int | None:
    """Warm up, and return the most memory of a step, of steps that are not yet a CUDA graph, whose memory is hidden."""
    kind = device.place.type
    if kind == "cpu":
        memory = LiveMemory(kind, AtWork(), block=1)
        memory.follow_all(prepared)
        memory.begin()
        with Following([memory]):
            _timed(step, kind)
        return memory.peak
    for number in range(times):
        if number == 1 and kind == "cuda":
            torch.cuda.reset_peak_memory_stats(device.place)
        _timed(step, kind)
    return torch.cuda.max_memory_allocated(device.place) if kind == "cuda" else None


def _timed(step: Callable[[], object], kind: str) -> float:
    """Do a step and return its seconds."""
    start = time.perf_counter()
    step()
    if kind != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter() - start
