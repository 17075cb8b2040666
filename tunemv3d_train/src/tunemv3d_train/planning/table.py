"""A plan for people."""

import shlex
from collections.abc import Sequence

from rich.table import Column, Table
from rich.text import Text

from tunemv3d_core.console import console, messages, print_table
from tunemv3d_train.planning.changes import Step
from tunemv3d_train.planning.devices import GIB
from tunemv3d_train.planning.plan import Plan

KEPT = ("frozen weights", "trained weights", "gradients", "optimizer state", "averaged weights", "dataset", "batch")
"""What is there between steps, or for the optimizer's sake; the others are what parts computed, kept for gradients."""


def print_plan(plan: Plan) -> None:
    """Print a plan: a table of parts, then memory, time, and what was not counted."""
    kept = [part for part in KEPT if part in plan.memory]
    parts = [*kept, *sorted(plan.memory.keys() - kept, key=plan.memory.__getitem__, reverse=True)]
    parts += [part for part in plan.times if part not in plan.memory]
    total = sum(plan.times.values())
    table = Table("part", Column("GiB", justify="right"), Column("of the time", justify="right"), box=None)
    for part in parts:
        size, took = plan.memory.get(part, 0) / GIB, plan.times.get(part, 0)
        if size >= 0.005 or took >= 0.005 * total > 0:
            table.add_row(part, f"{size:.2f}", f"{took / total:.0%}" if took else "")
    console.print(Text.assemble((plan.spec.name, "bold"), f" on {plan.device.name}"), highlight=False)
    print_table(table)
    console.print(_memory(plan), soft_wrap=True, highlight=False)
    console.print(_time(plan), soft_wrap=True, highlight=False)
    for note in plan.notes:
        messages.print(f"note: {note}", style="yellow", soft_wrap=True)


def print_changes(changes: Sequence[Step]) -> None:
    """Print what was changed, in lines to copy, and what the run needs after each."""
    fits = changes[-1].plan.fits
    console.print(Text("\nWhat makes it fit:" if fits else "\nWhat makes it smaller, and not small enough:", "bold"))
    for step in changes:
        took = step.plan.step_seconds
        needs = f"{step.plan.peak / GIB:.2f} GiB" + ("" if took is None else f", {_duration(took)} a step")
        console.print(f"  {shlex.join(step.words)}", soft_wrap=True, highlight=False)
        console.print(f"      {needs}; {step.price}", soft_wrap=True, highlight=False)


def _memory(plan: Plan) -> str:
    told = f"memory: {plan.peak / GIB:.2f} GiB of tensors at the most"
    if plan.measured is not None and plan.measured.peak is not None:
        told += f"; {plan.measured.peak / GIB:.2f} GiB in steps that were tried, without the dataset"
    room = plan.device.room
    if room is None:
        return told
    return f"{told}; the device has room for {room / GIB:.1f}: it {'fits' if plan.fits else 'does not fit'}"


def _time(plan: Plan) -> str:
    step = plan.step_seconds
    if step is None:
        return "time: not known of this device; --device names one, such as rtx-4090"
    how = "measured" if plan.measured is not None else "estimated"
    run = _duration(step * plan.spec.train.steps)
    return f"time: {_duration(step)} a step, {run} for {plan.spec.train.steps} steps ({how})"


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f"{1e3 * seconds:.0f} ms"
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"
