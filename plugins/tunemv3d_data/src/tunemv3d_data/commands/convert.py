"""``tunemv3d data convert``: a dataset of another layout in, one of ours out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress

from tunemv3d_core.cli.ending import say_next
from tunemv3d_core.console import console, messages, print_json
from tunemv3d_core.errors import EXIT_FINDINGS, DatasetError
from tunemv3d_data.commands.options import OptOutList, StatedCreator, StatedLicence, Strict, WantedLicences
from tunemv3d_data.commands.sizes import read_size
from tunemv3d_data.commands.tables import show_notes

if TYPE_CHECKING:
    from tunemv3d_data.conversion.convert import Converted


_SourceArgument = Annotated[Path, typer.Argument(help="Its folder: one object, or one folder per object; or a video.")]
_OutOption = Annotated[Path, typer.Option(help="Folder of the dataset; an interrupted job goes on where it was.")]
_LayoutOption = Annotated[
    str,
    typer.Option(
        help="auto, nerfstudio, blender, colmap, neus, srn, zero123, syncdreamer, trellis, or tunemv3d: ours."
    ),
]
_ConventionOption = Annotated[
    str, typer.Option(help="Of the camera matrices, if not the layout's: opencv, opengl, opencv-w2c, zero123, …")
]
_UndistortOption = Annotated[bool, typer.Option("--undistort", help="Straighten what the lens bent.")]
_ResolutionOption = Annotated[
    str | None, typer.Option(help="Pixels: 128 for squares, or WIDTHxHEIGHT; else squares of the pictures' own.")
]
_ViewsOption = Annotated[
    int | None, typer.Option(min=3, help="At most: the sharpest all around the object; of a video, 48.")
]
_PosesOption = Annotated[
    Path | None, typer.Option(help="A video's cameras: a COLMAP reconstruction or a transforms.json.")
]
_StepOption = Annotated[int, typer.Option(min=1, help="Frames of the video between two numbers of --poses.")]
_ScaleOption = Annotated[float | None, typer.Option(min=1e-9, help="Our units in one of the source's.")]
_CentreOption = Annotated[str | None, typer.Option(help="The object's middle, x,y,z in the source's units.")]
_UpOption = Annotated[str | None, typer.Option(help="The source's upward axis: x, y, z, -x, -y, -z.")]
_CaptionsOption = Annotated[
    Path | None, typer.Option(help="A CSV of ids and captions, such as Cap3D's or Text2Shape's.")
]
_VocabularyOption = Annotated[
    Path | None, typer.Option(help="A JSON file of words of names, on top of the packaged ones.")
]
_AsJsonOption = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]


def convert(
    source: _SourceArgument,
    out: _OutOption,
    layout: _LayoutOption = "auto",
    convention: _ConventionOption = "",
    undistort: _UndistortOption = False,
    resolution: _ResolutionOption = None,
    views: _ViewsOption = None,
    poses: _PosesOption = None,
    step: _StepOption = 1,
    scale: _ScaleOption = None,
    centre: _CentreOption = None,
    up: _UpOption = None,
    captions: _CaptionsOption = None,
    vocabulary: _VocabularyOption = None,
    opt_out: OptOutList = None,
    licence: WantedLicences = None,
    state_licence: StatedLicence = "",
    state_creator: StatedCreator = "",
    strict: Strict = False,
    as_json: _AsJsonOption = False,
) -> None:
    """Convert a multi-view dataset of another layout: z up, in the unit sphere, RGBA, one set of intrinsics."""
    from tunemv3d_core.io.opt_out import OptOut
    from tunemv3d_data.captions.csv_table import read_captions
    from tunemv3d_data.captions.vocabulary import load_vocabulary
    from tunemv3d_data.conversion.convert import Conversion
    from tunemv3d_data.conversion.convert import convert as run
    from tunemv3d_data.conversion.video import is_video
    from tunemv3d_data.layouts.collection import open_dataset
    from tunemv3d_data.layouts.world import AXES, World

    if up is not None and up not in AXES:
        raise DatasetError(f"--up {up}: choose {', '.join(AXES)}")
    load_vocabulary(vocabulary)
    if is_video(source):
        source, layout = _capture(source, poses, step, views, out), "nerfstudio"
    elif poses is not None:
        raise DatasetError(f"--poses: {source} is no video; a capture has its own cameras")
    collection = open_dataset(source, layout, World(scale, _point(centre), up), undistort, convention, views)
    table = read_captions(captions) if captions else None
    if table:
        messages.print(table.coverage(collection.ids), highlight=False, markup=False, soft_wrap=True)
    size = read_size(resolution) if resolution else None
    wanted = tuple(licence.split(",")) if licence is not None else None
    listed = OptOut.read(opt_out) if opt_out is not None else OptOut()
    stated: dict[str, Any] = {"opt_out": listed, "licence": state_licence, "creator": state_creator, "licences": wanted}
    job = Conversion(out, size, captions=table, strict=strict, vocabulary=vocabulary, **stated)
    with Progress(console=messages) as progress:
        task = progress.add_task("objects", total=len(collection.ids))
        try:
            results = run(collection, job, lambda: progress.advance(task))
        except OSError as error:
            said = f"{out}: cannot be written: {error}; finished objects are kept, run it again"
            raise DatasetError(said) from None
    if all(result.status == "left out" for result in results):
        how = "" if licence is None else f"--licence {licence}: "
        raise DatasetError(f"{how}{results[0].note}, and no other fits; to state a licence, --state-licence")
    _show(results, collection.layout, out, as_json)
    if any(result.status == "refused" for result in results):
        raise typer.Exit(EXIT_FINDINGS)


def _capture(video: Path, poses: Path | None, step: int, views: int | None, out: Path) -> Path:
    """Make a capture of a video beside ``out``, where masks can be added to it."""
    from tunemv3d_data.conversion.video import capture_of, how_to_find_cameras

    if not video.is_file():
        raise DatasetError(f"{video}: no such file")
    if poses is None:
        raise DatasetError(how_to_find_cameras(video))
    folder = out.with_name(f"{out.name}-frames") / video.stem
    messages.print(f"frames of {video.name}: {folder}", markup=False, soft_wrap=True)
    return capture_of(video, poses, step, views or 48, folder)


def _point(text: str | None) -> tuple[float, float, float] | None:
    if text is None:
        return None
    try:
        x, y, z = (float(word) for word in text.split(","))
    except ValueError:
        raise DatasetError(f"--centre {text}: three numbers are expected, such as 0,0,0.5") from None
    return x, y, z


def _show(results: "list[Converted]", layout: str, out: Path, as_json: bool) -> None:
    from tunemv3d_core.io.json_files import read_json
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
    say_next("tunemv3d", "data", "check", out)
