"""Out of memory in training: which part asked for it, and what helps, most harmless first."""

import json
from typing import Any

import torch

from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import TuneMV3DError

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
"""Overrides by the part that ran out; chunks and gradient_checkpointing change no result."""

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


def memory_error(error: torch.OutOfMemoryError, model: MultiviewDiffusion, kept: str) -> TuneMV3DError:
    """Return the message for people.

    Args:
        error: torch's.
        model: in whose step it was raised.
        kept: what is kept and how to go on, a sentence.
    """
    part = part_of(error, model)
    where = f"in the {part.replace('_', ' ')}" if part else "in the step"
    helps = "; ".join(HELPS.get(part, HELPS[""]))
    reason = str(error).partition(". ")[0]
    return TuneMV3DError(f"out of memory {where}: {reason}. What helps, by --set: {helps}. {kept}")
