"""The command ``tunemv3d evaluate``: checkpoints by a protocol, as figures with intervals, plots and pictures."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tunemv3d_core.cli.ending import OpenOption, say_next, show_result
from tunemv3d_core.cli.model_options import (
    BaseOption,
    DeviceOption,
    DtypeOption,
    EmbeddingOption,
    LoraOption,
    OffloadOption,
    read_placement,
)
from tunemv3d_core.consistency import Consistency, parse_consistency
from tunemv3d_core.console import console, messages, print_json, print_table
from tunemv3d_core.errors import EXIT_FINDINGS, TuneMV3DError

if TYPE_CHECKING:
    from tunemv3d_eval.run import Bar, Request


_CheckpointsArgument = Annotated[
    list[str] | None,
    typer.Argument(help="Packaged checkpoints, their folders, or runs' folders.", metavar="CHECKPOINT..."),
]
_ProtocolOption = Annotated[
    str, typer.Option(help="A packaged protocol, or a JSON file. The options below change fields of it.")
]
_ListProtocolsOption = Annotated[bool, typer.Option("--list", help="Show the packaged protocols, and stop.")]
_PromptsOption = Annotated[
    str | None, typer.Option(help="Text file, one prompt a line, or a packaged list such as chairs-20.")
]
_ConsistencyOption = Annotated[str, typer.Option(help="Values of K, such as 0,1,1.5,2:1.")]
_SeedsOption = Annotated[int | None, typer.Option(help="Samples of each prompt, each from its own noise.")]
_StepsOption = Annotated[int | None, typer.Option(help="Denoising steps.")]
_GuidanceOption = Annotated[float | None, typer.Option(help="Guidance scale.")]
_SchedulerOption = Annotated[str | None, typer.Option(help="Scheduler, such as ddim.")]
_ViewsOption = Annotated[int | None, typer.Option(help="Cameras, evenly around the object.")]
_ElevationOption = Annotated[float | None, typer.Option(help="Degrees above the horizon.")]
_MetricOption = Annotated[
    list[str] | None,
    typer.Option(
        help='A metric in place of the protocol\'s: its name, or {"type": name, ...} with options. Again for more.'
    ),
]
_RealOption = Annotated[
    bool | None,
    typer.Option("--real", help="Measure held-out objects of the checkpoint's dataset too, as the ceiling."),
]
_ControlsOption = Annotated[
    bool | None,
    typer.Option(
        "--controls/--no-controls",
        help="Measure real objects, one view repeated, shuffled views and noise beside the samples.",
    ),
]
_DataOption = Annotated[str, typer.Option(help='Another: a folder, an installed one\'s name, or {"type": name, ...}.')]
_ScoreOnlyOption = Annotated[
    bool, typer.Option("--score-only", help="Sample nothing; measure the samples that lie in --out.")
]
_OutOption = Annotated[Path, typer.Option(help="Folder for samples, scores and the report.")]
_AsJsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON instead of a table.")]


def evaluate(
    checkpoints: _CheckpointsArgument = None,
    protocol: _ProtocolOption = "consistency",
    list_protocols: _ListProtocolsOption = False,
    prompts: _PromptsOption = None,
    consistency: _ConsistencyOption = "",
    seeds: _SeedsOption = None,
    steps: _StepsOption = None,
    guidance: _GuidanceOption = None,
    scheduler: _SchedulerOption = None,
    views: _ViewsOption = None,
    elevation: _ElevationOption = None,
    metric: _MetricOption = None,
    real: _RealOption = None,
    controls: _ControlsOption = None,
    data: _DataOption = "",
    score_only: _ScoreOnlyOption = False,
    out: _OutOption = Path("evaluation"),
    device: DeviceOption = "",
    dtype: DtypeOption = "auto",
    offload: OffloadOption = "none",
    base: BaseOption = "",
    lora: LoraOption = None,
    embedding: EmbeddingOption = None,
    show: OpenOption = False,
    as_json: _AsJsonOption = False,
) -> None:
    """Sample prompts at several strengths K from equal noise, measure the views, and compare.

    Samples stay in --out: the same command goes on after a kill, and --score-only measures them again. A picture for
    each prompt shows every sample, none chosen: views, the field's renders of them, and its opacity.
    Exit code 1: a sample or a metric failed; the report says which and why, and has the figures of all others.
    """
    if list_protocols:
        _show_protocols(as_json)
        return
    if not checkpoints:
        raise TuneMV3DError("no checkpoint is given: name one, such as chairs-mini, or ask for --list")
    strengths = parse_strengths(consistency) or None
    # Heavy: torch, and whatever the metrics' and the checkpoint's components need.
    from tunemv3d_core.additions import Additions
    from tunemv3d_core.ranks import Ranks
    from tunemv3d_eval.protocols.protocol import load_protocol
    from tunemv3d_eval.run import Request

    sampling = {"steps": steps, "guidance": guidance, "scheduler": scheduler, "views": views, "elevation": elevation}
    fields = {"prompts": prompts, "consistency": strengths, "seeds": seeds, "real": real, "controls": controls}
    followed, overridden = load_protocol(protocol).changed(**fields, **sampling)
    # "auto" is an old word for the default.
    place = read_placement("" if device == "auto" else device, dtype, offload)
    ranks = Ranks.launched()
    place = replace(place, device=ranks.device(place.device))
    request = Request(
        checkpoints=checkpoints,
        protocol=followed,
        overridden=overridden + (["metrics"] if metric else []),
        metrics=metric or [],
        real=bool(real),
        data=data,
        out=out,
        score_only=score_only,
        place=place,
        added=Additions.of(base, lora, embedding),
        ranks=ranks,
    )
    _evaluate(request, show, as_json)


def _evaluate(request: "Request", show: bool, as_json: bool) -> None:
    """Evaluate with a bar, and print the report."""
    from tunemv3d_eval.report.table import grids, missing
    from tunemv3d_eval.run import Evaluation

    evaluation = Evaluation(request)
    with _progress(shown=request.ranks.rank == 0) as progress:
        report = evaluation.run(_bars(progress))
    if not report:
        return
    if as_json:
        print_json(report)
    else:
        for grid in grids(report):
            print_table(grid.as_rich())
        for title, lines in missing(report).items():
            messages.print(f"{title}:\n" + "\n".join(f"  {line}" for line in lines), soft_wrap=True, highlight=False)
        shown = ("evaluate.json", "table.md", "plots/", "pictures/")
        console.print("\n".join(f"{request.out}/{name}" for name in shown), soft_wrap=True, highlight=False)
    if show:
        show_result(next(iter(sorted(request.out.glob("pictures/*/*"))), request.out / "table.md"))
    if not as_json:
        say_next("tunemv3d", "sample", request.checkpoints[0], request.protocol.texts()[0], "--mesh", "--open")
    if report["failed"]:
        raise typer.Exit(EXIT_FINDINGS)


def _show_protocols(as_json: bool) -> None:
    from tunemv3d_eval.protocols.listing import describe_protocols, protocol_table

    described = describe_protocols()
    if as_json:
        print_json(described)
    else:
        print_table(protocol_table(described))


def parse_strengths(text: str) -> tuple[Consistency, ...]:
    """Values or schedules of K between commas or blanks, each once, in the given order; none for an empty text.

    Raises:
        TuneMV3DError: something that is no number, or a negative one.
    """
    return tuple(dict.fromkeys(parse_consistency(word) for word in text.replace(",", " ").split()))


def _progress(shown: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=messages, transient=True, disable=not shown)


def _bars(progress: Progress) -> "Bar":
    """Return what begins a bar for each part of the work."""

    def begin(description: str, total: int | None) -> Any:
        task = progress.add_task(description, total=total)
        return lambda done: progress.update(task, completed=done)

    return begin
