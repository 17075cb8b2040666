"""``tunemv3d data render``: meshes in, a dataset out."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tunemv3d_core.console import console, messages, print_json
from tunemv3d_core.errors import EXIT_FINDINGS, DatasetError
from tunemv3d_data.rendering.job import RenderJob, Report, run_job
from tunemv3d_data.rendering.viewpoints import random_for
from tunemv3d_data.sources.objects import SourceObject, read_ids, read_sources, select


def render(
    source: Annotated[Path, typer.Argument(help="A .sh3f library, a folder of them, or a folder of meshes.")],
    out: Annotated[Path, typer.Option(help="Folder of the dataset; an interrupted job goes on where it was.")],
    renderer: Annotated[str, typer.Option(help="Mesh renderer, as `tunemv3d plugins list` names it.")] = "embree",
    views: Annotated[int, typer.Option(min=2, help="Cameras an object; a third of them on a ring, first.")] = 24,
    resolution: Annotated[int, typer.Option(min=8, help="Pixels, square.")] = 128,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = os.cpu_count() or 1,
    choose: Annotated[str, typer.Option("--select", help="chairs, all, or a file with one id a line.")] = "all",
    exclude: Annotated[Path | None, typer.Option(help="A file of ids to leave out.")] = None,
    variants: Annotated[int, typer.Option(min=0, help="Recoloured, stretched copies an object.")] = 0,
    held_out: Annotated[str, typer.Option(help="A file of ids, or how many objects to draw.")] = "0",
    quality: Annotated[str, typer.Option(help="lossless, or 1 to 100 for lossy WebP.")] = "lossless",
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Render objects from cameras all around them into a dataset with captions and attribution."""
    objects = read_sources(source)
    kept_apart = _held_out(held_out, objects)
    left_out = set(read_ids(exclude)) if exclude else set()
    chosen = [entry for entry in select(objects, choose) if entry.id not in left_out]
    kept_apart = kept_apart if kept_apart is not None else _draw(int(held_out), chosen)
    job = RenderJob(out, renderer, views, resolution, variants, _quality(quality), frozenset(kept_apart))
    with _progress() as progress:
        task = progress.add_task("objects", total=len(chosen), rate="")
        report = run_job(job, chosen, min(workers, len(chosen)), lambda: _advance(progress, task))
    _show(report, out, as_json)
    if report.of("refused", "failed"):
        raise typer.Exit(EXIT_FINDINGS)


def _held_out(value: str, objects: list[SourceObject]) -> set[str] | None:
    """Ids from a file, or None where the value is a number."""
    if value.isdigit():
        return None
    ids = read_ids(Path(value))
    known = {entry.id for entry in objects}
    if missing := [id_ for id_ in ids if id_ not in known]:
        raise DatasetError(f"{value}: the source has no object {missing[0]!r}")
    return set(ids)


def _draw(count: int, chosen: list[SourceObject]) -> set[str]:
    if count >= len(chosen):
        raise DatasetError(f"--held-out {count}: only {len(chosen)} objects are selected")
    order = random_for("held out").permutation(len(chosen))
    return {chosen[index].id for index in order[:count]}


def _quality(value: str) -> int | None:
    if value == "lossless":
        return None
    if value.isdigit() and 1 <= int(value) <= 100:
        return int(value)
    raise DatasetError(f"--quality {value}: lossless, or a number from 1 to 100")


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    return Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=messages)


def _advance(progress: Progress, task: int) -> None:
    progress.advance(task)  # type: ignore[arg-type]
    speed = progress.tasks[0].speed
    progress.update(task, rate=f"{speed:.2f}/s" if speed else "")  # type: ignore[arg-type]


def _show(report: Report, out: Path, as_json: bool) -> None:
    if as_json:
        results = [{"id": r.id, "status": r.status, "note": r.note} for r in report.results]
        print_json({"out": str(out), "results": results})
        return
    for result in report.of("refused", "failed"):
        console.print(f"{result.status} {result.id}: {result.note}", markup=False, highlight=False, soft_wrap=True)
    counts = {status: len(report.of(status)) for status in ("rendered", "kept", "refused", "failed")}
    console.print(f"{out}: " + ", ".join(f"{count} {status}" for status, count in counts.items()), soft_wrap=True)
