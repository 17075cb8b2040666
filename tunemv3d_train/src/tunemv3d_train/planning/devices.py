"""The device that is planned for: one that is here, or one that is named."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from tunemv3d_core.cli.environment import machine_memory
from tunemv3d_core.devices import find_device
from tunemv3d_core.errors import TuneMV3DError, suggestion

GIB = 2**30

CONTEXT = 0.6 * GIB
"""Of a GPU's memory: what CUDA and its libraries take for themselves."""

PYTHON = 1.0 * GIB
"""Of a machine's memory: what Python and torch take for themselves."""

GAPS = 0.05
"""Share of the memory that lies between tensors and cannot be used."""


@dataclass(frozen=True)
class Rates:
    """The most that a device does in a second.

    Attributes:
        half: floating-point operations of matrix products in bfloat16 or float16, without sparsity, sums in float32.
        tf32: those of convolutions in float32, which torch lets tensor cores do.
        single: those of matrix products in float32.
        moved: bytes to and from memory.
    """

    half: float
    tf32: float
    single: float
    moved: float


@dataclass(frozen=True)
class Device:
    """A device.

    Attributes:
        name: for people.
        place: in torch, with an index where it is a GPU.
        room: bytes that tensors can have; None where nobody says how much memory it has.
        rates: None where they are not known.
        is_here: whether steps can be tried on it.
    """

    name: str
    place: torch.device
    room: float | None
    rates: Rates | None
    is_here: bool = False


def _room(memory: float, place: torch.device) -> float:
    """Return what tensors can have of so many bytes."""
    return max(0.0, memory * (1 - GAPS) - (PYTHON if place.type == "cpu" else CONTEXT))


def _tera(half: float, tf32: float, single: float, moved: float) -> Rates:
    return Rates(half * 1e12, tf32 * 1e12, single * 1e12, moved * 1e12)


GPUS: dict[str, tuple[str, float, Rates]] = {
    "h200": ("NVIDIA H200", 139, _tera(989, 494, 67, 4.8)),
    "h100": ("NVIDIA H100 80GB HBM3", 79, _tera(989, 494, 67, 3.35)),
    "a100-80gb": ("NVIDIA A100-SXM4-80GB", 79, _tera(312, 156, 19.5, 2.04)),
    "a100-40gb": ("NVIDIA A100-SXM4-40GB", 39, _tera(312, 156, 19.5, 1.56)),
    "l40s": ("NVIDIA L40S", 44, _tera(362, 183, 91.6, 0.864)),
    "a40": ("NVIDIA A40", 44, _tera(150, 74.8, 37.4, 0.696)),
    "rtx-a6000": ("NVIDIA RTX A6000", 47, _tera(155, 77.4, 38.7, 0.768)),
    "rtx-5090": ("NVIDIA GeForce RTX 5090", 31, _tera(210, 105, 105, 1.79)),
    "rtx-4090": ("NVIDIA GeForce RTX 4090", 23.5, _tera(165, 82.6, 82.6, 1.01)),
    "rtx-3090": ("NVIDIA GeForce RTX 3090", 23.5, _tera(71, 35.6, 35.6, 0.936)),
    "l4": ("NVIDIA L4", 22, _tera(121, 60, 30.3, 0.3)),
}
"""GPUs by the names that a plan takes: as torch names them, GiB that torch can have, and the makers' rates."""


def device_of(name: str = "", memory: float | None = None) -> Device:
    """Find the device to plan for.

    Args:
        name: "" for what a run would take here, one of torch's names such as "cpu" or "cuda:1", or one of ``GPUS``.
        memory: GiB that it has instead of its own; without a name this is any GPU of that size.

    Raises:
        TuneMV3DError: no such device.
    """
    if not name and memory is not None:
        found = Device(f"a GPU of {memory:g} GiB", torch.device("cuda", 0), None, None)
    elif name in GPUS:
        title, size, rates = GPUS[name]
        place = torch.device("cuda", 0)
        found = Device(title, place, _room(size * GIB, place), rates)
    else:
        found = _here(name)
    return found if memory is None else replace(found, room=_room(memory * GIB, found.place))


def _here(name: str) -> Device:
    try:
        place = find_device(name)
    except TuneMV3DError as error:
        known = ", ".join(GPUS)
        raise TuneMV3DError(f"{error}.{suggestion(name, GPUS)} GPUs that need not be here: {known}") from None
    if place.type == "cuda":
        place = torch.device("cuda", torch.cuda.current_device() if place.index is None else place.index)
        about = torch.cuda.get_device_properties(place)
        rates = next((rates for title, _, rates in GPUS.values() if title == about.name), None)
        free, total = torch.cuda.mem_get_info(place)
        others = total - free - torch.cuda.memory_reserved(place)
        # This process's own context is counted by CONTEXT.
        ours = about.total_memory - max(0.0, others - CONTEXT)
        return Device(about.name, place, _room(ours, place), rates, is_here=True)
    if place.type == "cpu":
        size = machine_memory()
        room = None if size is None else _room(size * GIB, place)
        threads = torch.get_num_threads()
        name = f"cpu, {threads} thread{'s' * (threads > 1)}"
        return Device(name, place, room, _cpu_rates(), is_here=True)
    if place.type != "mps":
        raise TuneMV3DError(f"device '{name}': plans are for cuda, mps and cpu; name one of them")
    return Device("Apple GPU", place, _room(torch.mps.recommended_max_memory(), place), None, is_here=True)


def _cpu_rates() -> Rates:
    """Measure what this machine's processors do: a matrix product and a copy, some hundredths of a second each."""
    a, large = torch.ones(512, 512), torch.ones(2**24)
    products = 2 * 512**3 / _seconds(lambda: a @ a)
    return Rates(products, products, products, 2 * large.nbytes / _seconds(large.clone))


def _seconds(do: Callable[[], object]) -> float:
    """Return the shortest time of five."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        do()
        times.append(time.perf_counter() - start)
    return min(times)
