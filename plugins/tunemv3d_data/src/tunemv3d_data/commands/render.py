"""``tunemv3d data render``: meshes in, a dataset out."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tunemv3d_core.cli.ending import say_next
from tunemv3d_core.console import console, messages, print_json
from tunemv3d_core.errors import EXIT_FINDINGS, DatasetError
from tunemv3d_data.commands.options import OptOutList, StatedCreator, StatedLicence, Strict, WantedLicences
from tunemv3d_data.commands.sizes import read_size
from tunemv3d_data.commands.tables import show_notes

if TYPE_CHECKING:
    from tunemv3d_data.objects import SourceObject
    from tunemv3d_data.rendering.executors import Executor
    from tunemv3d_data.rendering.job import Report
    from tunemv3d_data.rendering.settings import JobShard, RenderJob
    from tunemv3d_data.rendering.viewpoints import Rig

Pattern = Literal["fibonacci", "hammersley", "rings", "random"]
LightName = Literal["studio", "flat", "random"]
SHOWN = 20
"""Objects without pictures that are listed for people; ``report.json`` has all."""


def _option(help_: str, *names: str, **limits: Any) -> Any:
    return typer.Option(*names, help=help_, **limits)


def render(
    source: Annotated[
        Path, typer.Argument(help="A folder of meshes (with metadata.csv), ShapeNetCore, Objaverse, .sh3f.")
    ],
    out: Annotated[Path, _option("Folder of the dataset; an interrupted job goes on where it was.")],
    renderer: Annotated[str, _option("auto, or a mesh renderer as `tunemv3d plugins list` names it.")] = "auto",
    views: Annotated[int, _option("Cameras per object; the ring's come first.", min=2)] = 24,
    resolution: Annotated[str, _option("Pixels: one number for squares, or WIDTHxHEIGHT, such as 96x64.")] = "128",
    cameras: Annotated[Pattern, _option("How the cameras after the ring stand.")] = "fibonacci",
    ring: Annotated[int | None, _option("Cameras on the ring; a third of all by default.", min=0)] = None,
    elevations: Annotated[str, _option("low:high of the cameras after the ring, degrees.")] = "-10:60",
    distance: Annotated[float, _option("Of the cameras, world units; objects lie within 0.9.")] = 2.7,
    fov: Annotated[float | None, _option("Field of view in degrees; about 42 by default.")] = None,
    jitter: Annotated[float, _option("Draw each camera's distance within this share of it.")] = 0.0,
    light: Annotated[LightName, _option("random: one per object, drawn from its name.")] = "studio",
    background: Annotated[
        str, _option("transparent, as training needs it; white, black or #rrggbb are opaque.")
    ] = "transparent",
    variants: Annotated[int, _option("Recoloured, stretched copies per object.", min=0)] = 0,
    quality: Annotated[str, _option("lossless, or 1 to 100 for lossy WebP.")] = "lossless",
    geometry: Annotated[bool, _option("Write depth and normals.")] = True,
    choose: Annotated[str, _option("all, or a file of ids, one per line.", "--select")] = "all",
    exclude: Annotated[Path | None, _option("A file of ids to leave out.")] = None,
    opt_out: OptOutList = None,
    licence: WantedLicences = None,
    state_licence: StatedLicence = "",
    state_creator: StatedCreator = "",
    up: Annotated[Literal["y", "z"] | None, _option("The meshes' upward axis, where not their format's own.")] = None,
    captions: Annotated[
        Path | None, _option("A CSV of ids and captions (Cap3D's, Text2Shape's), before the measured ones.")
    ] = None,
    caption_rules: Annotated[
        Path | None, _option("A Python file whose describe(source, mesh, seen) writes type and captions.")
    ] = None,
    vocabulary: Annotated[
        Path | None, _option("A JSON file of words of names and what they mean, on top of the packaged ones.")
    ] = None,
    held_out: Annotated[str, _option("A file of ids, or how many objects to draw.")] = "0",
    workers: Annotated[int | None, _option("Objects at a time; one per CPU by default.", min=1)] = None,
    strict: Strict = False,
    executor: Annotated[Literal["processes", "ray"], _option("ray: a cluster that shares its disks.")] = "processes",
    shard: Annotated[str, _option("i/n: objects i, i + n, …, for job arrays that share --out.")] = "0/1",
    limit: Annotated[float, _option("Seconds that an object may take.", min=1)] = 1800.0,
    as_json: Annotated[bool, _option("Print the report as JSON.", "--json")] = False,
) -> None:
    """Render objects from cameras all around them into a dataset with captions and attribution."""
    from tunemv3d_data.captions.rules import caption_rules as load_rules
    from tunemv3d_data.rendering.settings import JobShard, RenderJob
    from tunemv3d_data.sources.reading import read_sources

    part = JobShard.parse(shard)
    rules = caption_rules.absolute() if caption_rules else None
    if rules and vocabulary:
        raise DatasetError("--vocabulary has no effect on --caption-rules; leave one of them out")
    words = vocabulary.absolute() if vocabulary else None
    load_rules(rules, words)
    rig = _rig(cameras, ring, elevations, distance, fov, jitter)
    found = _stated(read_sources(source.absolute(), captions, up), state_licence, state_creator)
    found = found if opt_out is None else _opted_in(found, opt_out)
    chosen, drawn = _objects(found, choose, exclude, licence, held_out)
    size = read_size(resolution)
    look = (light, background, variants, _quality(quality), geometry)
    chosen_by = (frozenset(drawn), rules, strict, words)
    job = RenderJob(out.absolute(), _renderer(renderer, out), views, size, rig, *look, *chosen_by)
    _run(job, chosen, _executor(executor, workers, limit), part, as_json)


def _rig(
    pattern: Pattern, ring: int | None, elevations: str, distance: float, fov: float | None, jitter: float
) -> "Rig":
    from pydantic import ValidationError

    from tunemv3d_data.rendering.viewpoints import Rig

    low, separator, high = elevations.partition(":")
    if not separator:
        raise DatasetError(f"--elevations {elevations}: should be low:high in degrees, such as --elevations=-10:60")
    options: dict[str, Any] = {"pattern": pattern, "ring": ring, "distance": distance, "jitter": jitter}
    options |= {} if fov is None else {"field_of_view": fov}
    try:
        return Rig(elevations=(low, high), **options)  # type: ignore[arg-type]  # pydantic reads numbers
    except ValidationError as error:
        said = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}".removeprefix(": ") for fault in error.errors()]
        raise DatasetError(f"cameras: {'; '.join(said)}") from None


def _stated(objects: list["SourceObject"], licence: str, creator: str) -> list["SourceObject"]:
    """State what the objects do not say of themselves, and say for how many."""
    from tunemv3d_data.licences import spdx
    from tunemv3d_data.sources.selection import state_credits

    without = sum(not entry.licence for entry in objects)
    if licence:
        messages.print(f"{spdx(licence)} stated for {without} objects", highlight=False, soft_wrap=True)
    return state_credits(objects, licence, creator)


def _opted_in(objects: list["SourceObject"], path: Path) -> list["SourceObject"]:
    """Leave out what an opt-out list covers, and say how much that is."""
    from tunemv3d_core.io.opt_out import OptOut
    from tunemv3d_data.sources.selection import opted_in

    kept = opted_in(objects, OptOut.read(path))
    messages.print(f"left out by --opt-out: {len(objects) - len(kept)}", highlight=False)
    return kept


def _objects(
    objects: list["SourceObject"], choose: str, exclude: Path | None, licence: str | None, held_out: str
) -> tuple[list["SourceObject"], set[str]]:
    """Choose the objects to render, and the ids that are kept from training."""
    from tunemv3d_data.seeding import random_for
    from tunemv3d_data.sources.selection import by_licence, read_ids, select

    left_out = set(read_ids(exclude)) if exclude else set()
    chosen = [entry for entry in select(objects, choose) if entry.id not in left_out]
    if licence is not None:
        chosen, others = by_licence(chosen, licence)
        said = ", ".join(f"{count} {name or 'not stated'}" for name, count in others.most_common())
        messages.print(f"left out for their licence: {said or 'none'}", highlight=False, soft_wrap=True)
    if not held_out.isdigit():
        ids, known = read_ids(Path(held_out)), {entry.id for entry in objects}
        if missing := [id_ for id_ in ids if id_ not in known]:
            raise DatasetError(f"{held_out}: the source has no object {missing[0]!r}")
        return chosen, set(ids)
    if int(held_out) and int(held_out) >= len(chosen):
        raise DatasetError(f"--held-out {held_out}: only {len(chosen)} objects are selected")
    order = random_for("held out").permutation(len(chosen))
    return chosen, {chosen[index].id for index in order[: int(held_out)]}


def _renderer(name: str, out: Path) -> str:
    """Return the renderer's name; "auto" stays with the one that began the dataset."""
    from tunemv3d_core.io.json_files import read_json
    from tunemv3d_data.renderers.auto import choose

    if name == "auto" and (out / "dataset.json").exists():
        settings = read_json(out / "dataset.json").get("settings")
        name = str(settings.get("renderer", name)) if isinstance(settings, dict) else name
    return choose(name)


def _quality(value: str) -> int | None:
    if value == "lossless":
        return None
    if value.isdigit() and 1 <= int(value) <= 100:
        return int(value)
    raise DatasetError(f"--quality {value}: lossless, or a number from 1 to 100")


def _executor(name: str, workers: int | None, limit: float) -> "Executor":
    from tunemv3d_data.rendering.executors import Processes, RayCluster, available_cpus

    return RayCluster(workers, limit) if name == "ray" else Processes(workers or available_cpus(), limit)


def _run(
    job: "RenderJob", chosen: list["SourceObject"], executor: "Executor", shard: "JobShard", as_json: bool
) -> None:
    from tunemv3d_data.rendering.job import run_job

    start = monotonic()
    try:
        with _progress() as progress:
            report = run_job(job, chosen, executor, shard, progress)
    except KeyboardInterrupt:
        messages.print("finished objects are kept; the same command goes on from there")
        raise
    _show(report, job, monotonic() - start, as_json)
    if report.of("refused", "failed"):
        raise typer.Exit(EXIT_FINDINGS)


@contextmanager
def _progress() -> Iterator[Any]:
    """Show a bar, objects per second and the time left; objects finished before do not count into the rate."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("objects"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=messages) as bar:

        def show(finished: int, of: int) -> None:
            if not bar.tasks:
                bar.add_task("objects", total=of, completed=finished, rate="")
                return
            task = bar.tasks[0]
            bar.update(task.id, completed=finished)
            bar.update(task.id, rate=f"{task.speed:.2f}/s" if task.speed else "")

        yield show


def _show(report: "Report", job: "RenderJob", seconds: float, as_json: bool) -> None:
    counts, lost = report.counts(), report.of("refused", "failed")
    rate = counts["rendered"] / seconds
    if as_json:
        print_json(
            {
                **{"out": str(job.out), "renderer": job.renderer, "counts": counts, "causes": report.causes()},
                **{"seconds": round(seconds, 3), "objects_a_second": round(rate, 3)},
                "bytes_written": sum(result.bytes for result in report.results),
                "peak_worker_bytes": report.peak,
                "problems": [{"id": r.id, "status": r.status, "cause": r.cause, "reason": r.reason} for r in lost],
                **{"notes": report.notes.to_json(), "report": str(job.out / "report.json")},
            }
        )
        return
    show_notes(report.notes, job.out / "report.json")
    for result in lost[:SHOWN]:
        console.print(f"{result.status} {result.id}: {result.reason}", markup=False, highlight=False, soft_wrap=True)
    if len(lost) > SHOWN:
        console.print(f"… and {len(lost) - SHOWN} more, all in {job.out / 'report.json'}", soft_wrap=True)
    said = ", ".join(f"{count} {status}" for status, count in counts.items())
    console.print(f"{job.out}: {said}; {rate:.2f} objects per second", soft_wrap=True)
    say_next("tunemv3d", "data", "check", job.out)
