"""Out of memory in training: which part asked for it, and what helps, most harmless first."""

import json
from typing import Any

import torch

from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.console import messages
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_train.planning.changes import Step, fitting
from tunemv3d_train.planning.devices import GIB, device_of
from tunemv3d_train.planning.plan import Plan, Planner

DECODER = "model.backbone.gradient_checkpointing=true"
LIFTER = "model.lifter.gradient_checkpointing=true"
SMALLER_BATCH = "a smaller train.batch with a larger train.accumulate"
HELPS = {
    "field": (
        "model.field.gradient_checkpointing=true",
        "a smaller model.field.chunk_size",
        SMALLER_BATCH,
        "a smaller views.novel_pixels, or fewer views.novel",
    ),
    "lifter": (LIFTER, SMALLER_BATCH, "train.precision=bf16", "the lifter lora-encoder"),
    "backbone": (DECODER, SMALLER_BATCH, "train.precision=bf16"),
    "": (
        *(DECODER, LIFTER, SMALLER_BATCH, "train.precision=bf16", "optimizer.algorithm.type=adamw-8bit"),
        *("the lifter lora-encoder", "fewer views.novel"),
    ),
}
"""Overrides by the part that ran out, where no plan can be made; chunks and gradient_checkpointing change no result."""

SMALLEST = 1024
"""Points at once below which a field's chunks get no smaller."""


def smaller_chunks(field: object) -> str:
    """Let a field render with less memory and the same result; return what was set, "" where nothing is left.

    First nothing of a chunk is kept for the backward pass, then chunks are halved.
    """
    options: Any = getattr(field, "spec", None)
    size: int | None = getattr(options, "chunk_size", None)
    if size is None:
        return ""
    if getattr(options, "gradient_checkpointing", None) is False:
        change: dict[str, Any] = {"gradient_checkpointing": True}
    elif size // 2 >= SMALLEST:
        change = {"chunk_size": size // 2}
    else:
        return ""
    field.spec = options.model_copy(update=change)  # type: ignore[attr-defined]
    return " ".join(f"model.field.{name}={json.dumps(value)}" for name, value in change.items())


def part_of(error: BaseException, model: MultiviewDiffusion) -> str:
    """Return the slot in whose code an error arose; "" where in none, such as in the backward pass."""
    slots = {id(module): slot for slot, part in model.slots().items() for module in part.modules()}
    found = ""
    trace = error.__traceback__
    while trace is not None:
        found = slots.get(id(trace.tb_frame.f_locals.get("self")), found)
        trace = trace.tb_next
    return found


def memory_error(error: torch.OutOfMemoryError, model: MultiviewDiffusion, spec: RunSpec, kept: str) -> TuneMV3DError:
    """Return the message for people.

    Args:
        error: torch's.
        model: in whose step it was raised.
        spec: of the run.
        kept: what is kept and how to go on, a sentence.
    """
    part = part_of(error, model)
    where = f"in the {part.replace('_', ' ')}" if part else "in the step"
    reason = str(error).partition(". ")[0]
    messages.print("out of memory: planning what would fit")
    try:
        helps = _planned(spec, model.device)
    except Exception:  # whatever goes wrong in a plan, the message is on the lack of memory
        helps = ""
    helps = helps or f"What helps, by --set: {'; '.join(HELPS.get(part, HELPS['']))}"
    return TuneMV3DError(f"out of memory {where}: {reason}. {helps}. {kept}")


def _planned(spec: RunSpec, device: torch.device) -> str:
    """Return changes after which a plan of the run fits the device, as a sentence; "" where it knows none."""
    planner = Planner(device_of(str(device)), tries=False)
    plan = planner.ran_out(planner.plan(spec))
    changes = fitting(plan, planner)
    return _told(plan, changes) if changes else ""


def _told(plan: Plan, changes: list[Step]) -> str:
    last = changes[-1].plan
    makes = "fit" if last.fits else "smaller, though not small enough"
    words = " ".join(f"--set '{each}'" for step in changes for each in step.overrides)
    needs = f"{last.peak / GIB:.2f} instead of {plan.peak / GIB:.2f} GiB"
    return f"What makes it {makes}, by a plan of it: {words} ({needs})"
