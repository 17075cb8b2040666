"""The command ``tunemv3d-train``. Light: torch is imported only when a run starts."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunemv3d_core import console
from tunemv3d_core.cli.ending import OpenOption, say_next, show_result
from tunemv3d_core.cli.model_options import BaseOption
from tunemv3d_core.errors import EXIT_BAD_INPUT, EXIT_INTERRUPTED, SpecError, TuneMV3DError
from tunemv3d_core.io.file_names import fault_of

if TYPE_CHECKING:
    from tunemv3d_core.config.run_spec import RunSpec
    from tunemv3d_train.trainer import Outcome


def train(
    spec: Annotated[str, typer.Argument(help="Name of an installed spec, or a JSON file.")],
    out: Annotated[Path | None, typer.Option(help="The run's folder.  [default: runs/NAME]")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the folder's last checkpoint.")] = False,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a field: a.b=value. Repeatable.")] = None,
    steps: Annotated[int | None, typer.Option(help="Short for --set train.steps=N.")] = None,
    base: BaseOption = "",
    show: OpenOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Tune a 2D diffusion model into a multi-view one.

    The 2D model must know what the captions name: see docs/your-own-objects.md. chairs-mini's knows furniture.

    Several GPUs or machines: torchrun --nproc-per-node 8 -m tunemv3d_train SPEC
    """
    from tunemv3d_core.config.loading import load_spec

    overrides = [*(set_ or []), *([] if steps is None else [f"train.steps={steps}"])]
    with _said_once():
        resolved = load_spec(spec, overrides)
        if base:
            from tunemv3d_core.io.base_model import with_base

            resolved = with_base(resolved, base)
        folder = out or _default_folder(resolved.name)
        outcome = _train(resolved, folder, resume)
    first = os.environ.get("RANK", "0") == "0"
    if first:
        _print_outcome(outcome, folder, as_json)
    if outcome.interrupted:
        if first:
            place = [f"--base '{base}'"] if base else []
            again = " ".join([_program(), spec, *(f"--set '{o}'" for o in overrides), *place, "--out", str(folder)])
            message = f"interrupted after step {outcome.step}; go on with: {again} --resume"
            console.messages.print(message, soft_wrap=True, markup=False)
        raise typer.Exit(EXIT_INTERRUPTED)
    if first and show:
        show_result(folder / "index.html")
    if first and not as_json:
        say_next("tunemv3d", "report", folder, "--open")


def _train(spec: "RunSpec", folder: Path, resume: bool) -> "Outcome":
    """Run it; what all processes of a machine find wrong alike is said by the first."""
    from tunemv3d_train.agreement import ProcessesError
    from tunemv3d_train.trainer import train as run_training

    # A launcher that starts its processes again wants them to go on.
    restarted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0 and (folder / "checkpoints").is_dir()
    try:
        return run_training(spec, folder, resume or restarted)
    except ProcessesError:
        if os.environ.get("LOCAL_RANK", "0") == "0":
            raise
        raise typer.Exit(EXIT_BAD_INPUT) from None


@contextmanager
def _said_once() -> Iterator[None]:
    """Let one of several processes alone say what all find wrong with a spec or its dataset."""
    try:
        yield
    except TuneMV3DError as error:
        if os.environ.get("WORLD_SIZE", "1") != "1":
            from tunemv3d_train.agreement import said_by_another

            if said_by_another(error):
                raise typer.Exit(EXIT_BAD_INPUT) from None
        raise


def _program() -> str:
    """Return how this command was started: by itself, or by torchrun."""
    local, world = os.environ.get("LOCAL_WORLD_SIZE"), os.environ.get("WORLD_SIZE", "1")
    if local is None or world == "1":
        return "tunemv3d-train"
    machines = f"--nnodes {int(world) // int(local)} " if world != local else ""
    return f"torchrun {machines}--nproc-per-node {local} -m tunemv3d_train"


def _default_folder(name: str) -> Path:
    folder = Path("runs") / name
    if not folder.exists() and (fault := fault_of(name)):
        raise SpecError(f"name: {name!r} {fault}, so it names no run's folder on every system; give one with --out")
    return folder


def _print_outcome(outcome: "Outcome", folder: Path, as_json: bool) -> None:
    paths = {
        "checkpoint": outcome.checkpoint,
        "best": outcome.best,
        "preview": outcome.preview,
        "log": folder / "metrics.jsonl",
    }
    if as_json:
        files = {name: None if path is None else str(path) for name, path in paths.items()}
        figures = {"before": outcome.before, "after": outcome.after, "measured": outcome.measured}
        console.print_json({"step": outcome.step, "interrupted": outcome.interrupted, **files, **figures})
        return
    if outcome.after:
        from tunemv3d_train.evaluation import table

        console.print_table(table(outcome.before, outcome.after, outcome.measured))
    for name, path in paths.items():
        if path is not None:
            console.console.print(f"{name:<10}  {path}", soft_wrap=True, highlight=False)


def main() -> None:
    """Entry point of the console script."""
    console.run(train)
