"""``tunemv3d checkpoint``: look whether checkpoints are whole, and put damaged ones out of the way."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunemv3d_core.cli.ending import say_next
from tunemv3d_core.cli.options import JsonOption
from tunemv3d_core.console import console, print_json
from tunemv3d_core.errors import EXIT_FINDINGS

if TYPE_CHECKING:
    from tunemv3d_core.io.checkpoint_repair import Verdict

app = typer.Typer(no_args_is_help=True, help="Look whether checkpoints are whole; put damaged ones out of the way.")

Folder = Annotated[Path, typer.Argument(help="A checkpoint's folder, or a run's.")]


@app.command()
def verify(folder: Folder, as_json: JsonOption = False) -> None:
    """Read every file of a checkpoint, or of all checkpoints of a run, and compare it with its checksum.

    Numbers that are not finite count as damage too. Exit code 1: something is not as it should be.
    """
    from tunemv3d_core.io.checkpoint_repair import checkpoints_in, examine

    found = [examine(each) for each in checkpoints_in(folder)]
    broken = any(each.problem for each in found)
    _show(found, as_json, ("tunemv3d", *(("checkpoint", "repair") if broken else ("evaluate",)), str(folder)))


@app.command()
def repair(folder: Folder, as_json: JsonOption = False) -> None:
    """Make a run, or a checkpoint, usable again; nothing but half-written files is removed.

    A checkpoint whose weights are damaged gets another name (step-000500.damaged). Where only what resuming needs is
    damaged, that is set aside, and the checkpoint can still be sampled. Exit code 1: something was damaged.
    """
    from tunemv3d_core.io.checkpoint_repair import repair as repair_folder

    _show(repair_folder(folder), as_json, ("tunemv3d", "checkpoint", "verify", str(folder)))


def _show(found: "list[Verdict]", as_json: bool, after: tuple[str, ...]) -> None:
    if as_json:
        print_json([asdict(each) for each in found])
    else:
        for each in found:
            state = "whole" if each.resumes else "can be sampled, not resumed" if each.samples else "damaged"
            told = "; ".join(filter(None, (each.problem, each.done)))
            console.print(f"{each.checkpoint}: {state}{f': {told}' if told else ''}", soft_wrap=True, highlight=False)
        say_next(*after)
    if any(each.problem or each.done for each in found):
        raise typer.Exit(EXIT_FINDINGS)
