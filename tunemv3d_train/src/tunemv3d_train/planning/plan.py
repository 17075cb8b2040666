"""The plan of a run: memory and time of a step, by part, and whether it fits a device."""

from dataclasses import dataclass, replace
from typing import Any

import torch

from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_train.cuda_graph import will_capture
from tunemv3d_train.planning.dataset_size import DatasetSize, dataset_size
from tunemv3d_train.planning.devices import GIB, Device
from tunemv3d_train.planning.estimate import moving, seconds
from tunemv3d_train.planning.measuring import Measured, measure
from tunemv3d_train.planning.tracing import Trace, Tracer

AFFORDABLE = 20.0
"""Seconds that trying a step may take on a CPU."""

SPARED = 0.9
"""Share of its planned memory that a run may have after changes, where it ran out of memory in spite of its plan."""


@dataclass(frozen=True)
class Plan:
    """What a run needs.

    Attributes:
        spec: of the run.
        device: that it is planned for.
        memory: bytes of tensors by what holds them, at the moment of a step when they are the most.
        times: estimated seconds of a step by part; empty where the device's rates are not known.
        measured: what steps took where they were tried.
        notes: what is not counted, and why.
    """

    spec: RunSpec
    device: Device
    memory: dict[str, int]
    times: dict[str, float]
    measured: Measured | None = None
    notes: tuple[str, ...] = ()

    @property
    def peak(self) -> int:
        """Bytes of tensors at their most, as planned."""
        return sum(self.memory.values())

    @property
    def fits(self) -> bool | None:
        """Whether the device has room for them; None where its memory is not known."""
        if self.device.room is None:
            return None
        seen = self.measured.peak if self.measured is not None and self.device.place.type == "cpu" else None
        return (self.peak if seen is None else seen + self.memory.get("dataset", 0)) <= self.device.room

    @property
    def step_seconds(self) -> float | None:
        """Seconds of a step: measured, else estimated, else None."""
        if self.measured is not None:
            return self.measured.seconds
        return sum(self.times.values()) if self.times else None

    def record(self) -> dict[str, Any]:
        """Return the plan as JSON."""
        step, room = self.step_seconds, self.device.room
        measured = self.measured
        return {
            "spec": self.spec.name,
            "device": self.device.name,
            "room_gib": None if room is None else round(room / GIB, 2),
            "peak_gib": round(self.peak / GIB, 3),
            "memory_gib": {part: round(size / GIB, 3) for part, size in self.memory.items()},
            "fits": self.fits,
            "step_seconds": step and round(step, 4),
            "run_hours": step and round(step * self.spec.train.steps / 3600, 3),
            "time": "unknown" if step is None else "estimated" if measured is None else "measured",
            "estimated_seconds": {part: round(each, 4) for part, each in self.times.items()},
            "measured_peak_gib": None if measured is None or measured.peak is None else round(measured.peak / GIB, 3),
            "notes": list(self.notes),
        }


class Planner:
    """Plans specs for one device; the dataset is read once.

    Args:
        device: that is planned for.
        tries: whether steps may be tried where the device is here.
    """

    def __init__(self, device: Device, tries: bool = True) -> None:
        self.device, self._tries = device, tries
        self._tracer = Tracer(device.place)
        self._sizes: dict[str, DatasetSize] = {}

    def plan(self, spec: RunSpec) -> Plan:
        """Plan a run by its shapes.

        Raises:
            TuneMV3DError: a spec that does not run, or a component whose work depends on numbers.
        """
        data = self._size(spec)
        seen = self._tracer.trace(spec, data.maps)
        kept = data.kept(seen.batch, self.device.place.type == "cpu")
        memory = {**seen.parts, **({"dataset": kept} if kept else {})}
        notes = [data.note] if data.note else []
        if spec.train.compile != "off":
            notes.append("planned as if nothing were compiled, which needs more memory and time")
        if not seen.kernels:
            notes.append("planned without kernels of the components' own, which need less memory and time")
        return Plan(spec, self.device, memory, self._times(spec, seen), notes=tuple(notes))

    def tried(self, plan: Plan) -> Plan:
        """Return a plan with what a step took, where it can be tried."""
        estimated = sum(plan.times.values())
        slow = self.device.place.type == "cpu" and estimated > AFFORDABLE
        if not self._tries or not self.device.is_here or plan.fits is False or slow:
            return plan
        try:
            return replace(plan, measured=measure(plan.spec, self.device, self._size(plan.spec).maps))
        except torch.OutOfMemoryError:
            return replace(self.ran_out(plan), notes=(*plan.notes, "a step was tried and ran out of memory"))

    def ran_out(self, plan: Plan) -> Plan:
        """Return the plan of a run that did not fit: where it says otherwise, the device has less room."""
        if plan.fits is False:
            return plan
        self.device = replace(self.device, room=SPARED * plan.peak)
        return replace(plan, device=self.device)

    def _size(self, spec: RunSpec) -> DatasetSize:
        key = spec.data.model_dump_json()
        if key not in self._sizes:
            self._sizes[key] = dataset_size(spec)
        return self._sizes[key]

    def _times(self, spec: RunSpec, seen: Trace) -> dict[str, float]:
        if self.device.rates is None:
            return {}
        launched = not will_capture(spec, self.device.place.type)
        of_pass = seconds(seen.passed, self.device, launched)
        times = {part: each * spec.train.accumulate for part, each in of_pass.items()}
        return {**times, "optimizer": moving(seen.updated, self.device)}
