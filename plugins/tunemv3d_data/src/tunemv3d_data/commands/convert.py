"""``tunemv3d data convert``: a dataset of another layout in, one of ours out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress

from tunemv3d_core.console import console, messages, print_json
from tunemv3d_core.errors import EXIT_FINDINGS, DatasetError
from tunemv3d_data.commands.options import StatedCreator, StatedLicence, Strict, WantedLicences
from tunemv3d_data.commands.tables import show_notes

if TYPE_CHECKING:
    from tunemv3d_data.layouts.convert import Converted


def convert(
    source: Annotated[Path, typer.Argument(help="Its folder: one object, or one folder per object.")],
    out: Annotated[Path, typer.Option(help="Folder of the dataset; an interrupted job goes on where it was.")],
    layout: Annotated[
        str, typer.Option(help="auto, nerfstudio, blender, srn, zero123, syncdreamer, trellis, or tunemv3d: ours.")
    ] = "auto",
    resolution: Annotated[int | None, typer.Option(min=8, help="Pixels, square; else the pictures' own.")] = None,
    scale: Annotated[float | None, typer.Option(min=1e-9, help="Our units in one of the source's.")] = None,
    centre: Annotated[str | None, typer.Option(help="The object's middle, x,y,z in the source's units.")] = None,
    up: Annotated[str | None, typer.Option(help="The source's upward axis: x, y, z, -x, -y, -z.")] = None,
    captions: Annotated[
        Path | None, typer.Option(help="A CSV of ids and captions, such as Cap3D's or Text2Shape's.")
    ] = None,
    vocabulary: Annotated[
        Path | None, typer.Option(help="A JSON file of words of names, on top of the packaged ones.")
    ] = None,
    licence: WantedLicences = None,
    state_licence: StatedLicence = "",
    state_creator: StatedCreator = "",
    strict: Strict = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Convert a multi-view dataset of another layout: z up, in the unit sphere, RGBA, one set of intrinsics."""
    from tunemv3d_data.captions.csv_table import read_captions
    from tunemv3d_data.captions.vocabulary import load_vocabulary
    from tunemv3d_data.layouts.collection import open_dataset
    from tunemv3d_data.layouts.convert import Conversion
    from tunemv3d_data.layouts.convert import convert as run
    from tunemv3d_data.layouts.world import AXES, World

    if up is not None and up not in AXES:
        raise DatasetError(f"--up {up}: choose {', '.join(AXES)}")
    load_vocabulary(vocabulary)
    collection = open_dataset(source, layout, World(scale, _point(centre), up))
    table = read_captions(captions) if captions else None
    if table:
        messages.print(table.coverage(collection.ids), highlight=False, markup=False, soft_wrap=True)
    wanted = tuple(licence.split(",")) if licence is not None else None
    given = (state_licence, table, strict, state_creator, wanted)
    job = Conversion(out, resolution, *given, vocabulary)
    with Progress(console=messages) as progress:
        task = progress.add_task("objects", total=len(collection.ids))
        try:
            results = run(collection, job, lambda: progress.advance(task))
        except OSError as error:
            said = f"{out}: cannot be written: {error}; finished objects are kept, run it again"
            raise DatasetError(said) from None
    if all(result.status == "left out" for result in results):
        raise DatasetError(f"--licence {licence}: {results[0].note}, and no other fits; to state one, --state-licence")
    _show(results, collection.layout, out, as_json)
    if any(result.status == "refused" for result in results):
        raise typer.Exit(EXIT_FINDINGS)


def _point(text: str | None) -> tuple[float, float, float] | None:
    if text is None:
        return None
    try:
        x, y, z = (float(word) for word in text.split(","))
    except ValueError:
        raise DatasetError(f"--centre {text}: three numbers are expected, such as 0,0,0.5") from None
    return x, y, z


def _show(results: "list[Converted]", layout: str, out: Path, as_json: bool) -> None:
    from tunemv3d_core.io.posed_images import read_json
    from tunemv3d_data.notes import NoteCounts

    report = out / "report.json"
    notes = NoteCounts.from_json(read_json(report)["notes"])
    if as_json:
        entries = [{"id": r.id, "status": r.status, "note": r.note} for r in results]
        print_json(
            {"out": str(out), "layout": layout, "results": entries, "notes": notes.to_json(), "report": str(report)}
        )
        return
    show_notes(notes, report)
    for result in results:
        if result.status == "refused":
            console.print(f"refused {result.id}: {result.note}", markup=False, highlight=False, soft_wrap=True)
    statuses = [result.status for result in results]
    counts = ", ".join(f"{statuses.count(status)} {status}" for status in ("converted", "kept", "refused", "left out"))
    console.print(f"{out}: {layout}, {counts}", soft_wrap=True)
