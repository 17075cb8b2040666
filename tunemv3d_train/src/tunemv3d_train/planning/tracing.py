"""A step followed on tensors without numbers: the memory that it needs, and what it computes."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch

from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.planned import planning
from tunemv3d_core.rendering.rays import CPU_CHUNK_SIZE, cpu_chunks, culling
from tunemv3d_train.batches import Batch
from tunemv3d_train.planning.casting import Casting
from tunemv3d_train.planning.following import Following, Watcher
from tunemv3d_train.planning.live_memory import LiveMemory
from tunemv3d_train.planning.operations import Operation, Operations
from tunemv3d_train.planning.parts import AtWork
from tunemv3d_train.planning.prepared import Prepared, latent_size, skeleton
from tunemv3d_train.planning.repeats import Repeats
from tunemv3d_train.planning.stand_ins import META, NoNumbersError, StandIns, unchecked
from tunemv3d_train.step import TrainingStep

BLOCK = {"cuda": 512}
"""Bytes to which the allocator of a type of devices rounds up."""

MOST_CHUNKS = 32
"""Chunks of a field's points that are followed as a CPU's: each takes time, and they are alike."""


@dataclass(frozen=True)
class Trace:
    """What was seen of a step.

    Attributes:
        peak: bytes of tensors that lived at once, at most.
        parts: those bytes by what holds them.
        passed: operators of the last pass.
        updated: operators of the change of the weights.
        batch: without numbers.
        kernels: whether components chose kernels of their own.
    """

    peak: int
    parts: dict[str, int]
    passed: list[Operation]
    updated: list[Operation]
    batch: Batch
    kernels: bool


class Tracer:
    """Follows steps as they would run on a device that need not be here.

    Args:
        place: the device, with an index where it is a GPU.
    """

    def __init__(self, place: torch.device) -> None:
        self._place = place
        self._repeats = Repeats()
        self._kernels = True

    def trace(self, spec: RunSpec, maps: Mapping[str, int]) -> Trace:
        """Follow a step of a spec.

        Args:
            spec: of the run.
            maps: channels of the dataset's maps, by name.

        Raises:
            TuneMV3DError: a spec that does not run, or a component whose work depends on numbers.
        """
        try:
            return self._trace(spec, maps)
        except Exception as error:  # a component's code, and kernels of its own, may raise whatever they like
            if not self._kernels or (isinstance(error, TuneMV3DError) and not isinstance(error, NoNumbersError)):
                raise _refusal(spec, error) from error
        self._kernels = False
        return self.trace(spec, maps)

    def _trace(self, spec: RunSpec, maps: Mapping[str, int]) -> Trace:
        step = skeleton(spec, maps)
        at_work = AtWork()
        memory = LiveMemory(META.type, at_work, BLOCK.get(self._place.type, 1))
        watchers: list[Watcher] = [memory]
        modes = _passing_for(self._place, self._kernels, _chunk_size(spec, step))
        with unchecked(), Following(watchers, self._repeats), modes:
            prepared = Prepared(spec, step, self._place, real=False)
            memory.follow_all(prepared)
            at_work.watch(prepared.model)
            memory.begin()
            # The second pass of a step finds the gradients of the first; a third is no different.
            for _ in range(min(spec.train.accumulate, 2)):
                passed = Operations(at_work)
                watchers[1:] = [passed]
                prepared.one_pass()
            updated = Operations(at_work)
            watchers[1:] = [updated]
            with at_work.inside("optimizer"):
                prepared.update()
        parts = {part: size for part, size in memory.at_peak.items() if size}
        return Trace(memory.peak, parts, passed.done, updated.done, prepared.batch, self._kernels)


def _refusal(spec: RunSpec, error: Exception) -> TuneMV3DError:
    if isinstance(error, TuneMV3DError):
        return error
    reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return TuneMV3DError(f"{spec.name} cannot be planned: a component needs more than shapes ({reason})")


def _chunk_size(spec: RunSpec, step: TrainingStep) -> int:
    """Return how many points are followed at once as a CPU's: of large runs more than a cache would hold."""
    h, w = latent_size(spec, step.model.backbone.ports)
    views = spec.views.inputs + spec.views.novel * spec.views.novel_pixels
    each = sum(getattr(spec.model.field, name, 0) for name in ("samples", "fine_samples"))
    return max(CPU_CHUNK_SIZE, int(spec.train.batch * views * h * w * each) // MOST_CHUNKS)


@contextmanager
def _passing_for(place: torch.device, kernels: bool, chunk_size: int) -> Iterator[None]:
    """Let meta tensors pass for a device's."""
    with ExitStack() as left:
        if place.type == "cpu":
            # How many rays meet the object is not known without numbers.
            left.enter_context(culling(False))
            left.enter_context(cpu_chunks(chunk_size))
        left.enter_context(planning(kernels))
        left.enter_context(StandIns(place, kernels))
        left.enter_context(Casting(place.type))
        yield
