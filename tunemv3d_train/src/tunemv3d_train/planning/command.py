"""The command ``tunemv3d plan``."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunemv3d_core.cli.ending import say_next
from tunemv3d_core.cli.model_options import BaseOption
from tunemv3d_core.cli.options import JsonOption
from tunemv3d_core.console import messages, print_json
from tunemv3d_core.errors import EXIT_FINDINGS

if TYPE_CHECKING:
    from tunemv3d_train.planning.changes import Step
    from tunemv3d_train.planning.plan import Plan


def plan(
    spec: Annotated[str, typer.Argument(help="Name of an installed spec, or a JSON file.")],
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a field: a.b=value. Repeatable.")] = None,
    base: BaseOption = "",
    device: Annotated[
        str,
        typer.Option(
            help="Such as cpu or cuda, or a GPU that need not be here: h200, rtx-4090, … Default: what training takes."
        ),
    ] = "",
    device_memory: Annotated[float | None, typer.Option(min=0.1, help="GiB of the device's memory.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a run of a spec needs before it starts: memory and time of a step, by part, and what makes it fit.

    No weights are read, no pictures decoded, and nothing is written. Exit code 1: it does not fit.
    """
    from tunemv3d_core.config.loading import load_spec
    from tunemv3d_core.io.base_model import with_base
    from tunemv3d_train.planning.changes import fitting
    from tunemv3d_train.planning.devices import device_of
    from tunemv3d_train.planning.plan import Planner

    overrides = list(set_ or [])
    resolved = load_spec(spec, overrides)
    resolved = with_base(resolved, base) if base else resolved
    planner = Planner(device_of(device, device_memory))
    with messages.status("planning") as status:
        planned = planner.plan(resolved)
        status.update("trying a step")
        planned = planner.tried(planned)
        changes: list[Step] = []
        if planned.fits is False:
            changes = fitting(planned, planner, lambda change: status.update(f"planning with {change}"))
    if as_json:
        print_json({**planned.record(), "changes": [_record(each) for each in changes]})
    else:
        _print(planned, changes)
        _say_next(planned, changes, [spec, *(word for each in overrides for word in ("--set", each))], base)
    if planned.fits is False:
        raise typer.Exit(EXIT_FINDINGS)


def _record(step: "Step") -> dict[str, Any]:
    """Return a change as JSON."""
    kept = ("peak_gib", "fits", "step_seconds", "run_hours")
    record = step.plan.record()
    return {"set": list(step.overrides), "price": step.price, **{name: record[name] for name in kept}}


def _print(planned: "Plan", changes: "list[Step]") -> None:
    from tunemv3d_train.planning.table import print_changes, print_plan

    print_plan(planned)
    if changes:
        print_changes(changes)


def _say_next(planned: "Plan", changes: "list[Step]", spec: list[str], base: str) -> None:
    """Print the training's command line with all changes; where they do not suffice, that of the spec's options."""
    if (changes[-1].plan if changes else planned).fits is False:
        say_next("tunemv3d", "spec", "show", *spec)
    else:
        say_next(
            "tunemv3d-train", *spec, *(["--base", base] if base else []), *(w for step in changes for w in step.words)
        )
