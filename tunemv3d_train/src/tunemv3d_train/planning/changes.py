"""Changes of a spec that make its run fit a device, most harmless first, each verified by planning it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tunemv3d_core.config.loading import with_overrides
from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_train.planning.plan import Plan, Planner

SMALLEST_CHUNK = 16384
"""Points at once below which a field's chunks are not made: they would take more time and hardly less memory."""

WORTH = 0.01
"""Share of the peak that a change must spare."""


@dataclass(frozen=True)
class Change:
    """A kind of change.

    Attributes:
        price: what it costs, in words.
        overrides: from a spec to what may be set in it, one after the other, each more than the one before; nothing
            where the spec has no such option or is there already.
        part: that it makes smaller; "" for several.
    """

    price: str
    overrides: Callable[[RunSpec], Iterable[tuple[str, ...]]]
    part: str = ""


@dataclass(frozen=True)
class Step:
    """A change that was taken.

    Attributes:
        overrides: for ``--set``.
        price: what it costs.
        plan: with it and all before it.
    """

    overrides: tuple[str, ...]
    price: str
    plan: Plan

    @property
    def words(self) -> list[str]:
        """The change as words of a command line."""
        return [word for each in self.overrides for word in ("--set", each)]


def _field_recomputed(spec: RunSpec) -> Iterator[tuple[str, ...]]:
    if getattr(spec.model.field, "gradient_checkpointing", None) is False:
        no_graph = ("train.cuda_graph=false",) if spec.train.cuda_graph else ()
        yield ("model.field.gradient_checkpointing=true", *no_graph)


def _decoder_recomputed(spec: RunSpec) -> Iterator[tuple[str, ...]]:
    if getattr(spec.model.backbone, "gradient_checkpointing", None) is False:
        yield ("model.backbone.gradient_checkpointing=true",)


def _lifter_recomputed(spec: RunSpec) -> Iterator[tuple[str, ...]]:
    if getattr(spec.model.lifter, "gradient_checkpointing", None) is False:
        yield ("model.lifter.gradient_checkpointing=true",)


def _chunks(spec: RunSpec) -> Iterator[tuple[str, ...]]:
    options: Any = spec.model.field
    if getattr(options, "gradient_checkpointing", False):
        size = getattr(options, "chunk_size", 0) // 4
        while size >= SMALLEST_CHUNK:
            yield (f"model.field.chunk_size={size}",)
            size //= 4


def _batches(spec: RunSpec) -> Iterator[tuple[str, ...]]:
    objects = spec.train.batch * spec.train.accumulate
    for batch in range(spec.train.batch - 1, 0, -1):
        if spec.train.batch % batch == 0:
            yield f"train.batch={batch}", f"train.accumulate={objects // batch}"


def _precision(spec: RunSpec) -> Iterator[tuple[str, ...]]:
    if spec.train.precision == "fp32":
        yield ("train.precision=bf16",)


def _pixels(spec: RunSpec) -> Iterator[tuple[str, ...]]:
    share = spec.views.novel_pixels / 2
    while spec.views.novel and share >= 0.1:
        yield (f"views.novel_pixels={share:g}",)
        share /= 2


def _moments(spec: RunSpec) -> Iterator[tuple[str, ...]]:
    if spec.optimizer.algorithm.type == "adamw":
        yield ("optimizer.algorithm.type=adamw-8bit",)


def _average(spec: RunSpec) -> Iterator[tuple[str, ...]]:
    if spec.train.ema:
        yield ("train.ema=0",)


def _lora(spec: RunSpec) -> Iterator[tuple[str, ...]]:
    if spec.model.lifter is not None and spec.model.lifter.type == "copied-encoder":
        again = getattr(spec.model.lifter, "gradient_checkpointing", False)
        yield (f'model.lifter={{"type": "lora-encoder", "gradient_checkpointing": {str(again).lower()}}}',)


def _novel(spec: RunSpec) -> Iterator[tuple[str, ...]]:
    novel = spec.views.novel // 2
    while novel:
        yield (f"views.novel={novel}",)
        novel //= 2


def _inputs(spec: RunSpec) -> Iterator[tuple[str, ...]]:
    if spec.views.inputs > 4:
        yield ("views.inputs=4",)


CHANGES = (
    Change("the same result, more time", _field_recomputed, "field"),
    Change("the same result, a little more time", _chunks, "field"),
    Change("the same result, more time", _decoder_recomputed, "2D decoder"),
    Change("the same result, more time", _lifter_recomputed, "lifter"),
    Change("as many objects a step, more time", _batches),
    Change("networks compute with three digits instead of seven", _precision),
    Change("the loss sees fewer pixels of novel views", _pixels),
    Change("the optimizer's moments have 8 bits", _moments, "optimizer state"),
    Change("the checkpoint holds the weights themselves, not their average", _average, "averaged weights"),
    Change("a lifter of far fewer weights, which learns less", _lora),
    Change("the field is compared with fewer views", _novel),
    Change("fewer views agree with each other", _inputs),
)
"""Most harmless first. A further one is a line here and a function above."""


def fitting(plan: Plan, planner: Planner, tell: Callable[[str], None] = lambda _: None) -> list[Step]:
    """Find changes after which a run fits, or all that spare memory where it does not even then.

    Args:
        plan: of a run that does not fit.
        planner: for its device.
        tell: is called with what is being planned.
    """
    taken: list[Step] = []
    for change in CHANGES:
        if change.part and plan.memory.get(change.part, 0) < WORTH * plan.peak:
            continue
        best = None
        for overrides in change.overrides(plan.spec):
            tell(" ".join(overrides))
            changed = _changed(plan if best is None else best.plan, planner, overrides)
            if changed is None:
                break
            best = Step(overrides, change.price, changed)
            if changed.fits:
                break
        if best is not None:
            taken.append(best)
            plan = best.plan
        if plan.fits:
            break
    return taken


def _changed(plan: Plan, planner: Planner, overrides: tuple[str, ...]) -> Plan | None:
    """Plan a run with overrides; None where that cannot be, or spares too little."""
    try:
        changed = planner.plan(with_overrides(plan.spec, overrides))
    except TuneMV3DError:
        return None
    return changed if changed.peak <= plan.peak * (1 - WORTH) else None
