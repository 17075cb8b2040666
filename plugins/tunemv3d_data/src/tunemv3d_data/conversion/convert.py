"""Convert a dataset of any layout to ours. Finished objects are never redone; a broken one is listed."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import CameraError, DatasetError
from tunemv3d_core.io.file_names import clashes, fault_of
from tunemv3d_core.io.json_files import read_json, write_json, write_json_list
from tunemv3d_core.io.opt_out import OptOut
from tunemv3d_core.io.posed_images import PosedImages, read_object, write_manifest, write_object
from tunemv3d_data.captions.csv_table import CaptionTable
from tunemv3d_data.captions.vocabulary import load_vocabulary
from tunemv3d_data.captions.wording import describe_pictures
from tunemv3d_data.conversion.framing import Seen, common_frame
from tunemv3d_data.doctor.views import open_views
from tunemv3d_data.layouts.collection import Collection
from tunemv3d_data.licences import attribution, matches, spdx
from tunemv3d_data.notes import NoteCounts, collect, note, notes_of, refusal, with_notes
from tunemv3d_data.rendering.pictures import save_image


@dataclass(frozen=True)
class Conversion:
    """A conversion: what to make of every object.

    Attributes:
        out: the dataset's folder.
        size: (h, w) in pixels; None makes squares of the pictures' own resolution.
        licence: of objects whose layout states none.
        captions: those that others wrote, before those of the layout.
        strict: refuse objects on which there are notes.
        creator: of objects whose layout names none.
        licences: only objects under these (``licences.matches``); None takes all.
        vocabulary: a file of words of names, on top of the packaged ones.
        opt_out: objects to leave out.
    """

    out: Path
    size: tuple[int, int] | None = None
    licence: str = ""
    captions: CaptionTable | None = None
    strict: bool = False
    creator: str = ""
    licences: tuple[str, ...] | None = None
    vocabulary: Path | None = None
    opt_out: OptOut = field(default_factory=OptOut)


@dataclass(frozen=True)
class Converted:
    """Outcome of one object; ``note`` says why it was refused or left out."""

    id: str
    status: Literal["converted", "kept", "refused", "left out"]
    note: str = ""


def convert(source: Collection, job: Conversion, done: Callable[[], object] = lambda: None) -> list[Converted]:
    """Convert all objects, then write ``dataset.json``, ``ATTRIBUTION.md`` and ``report.json`` for those finished.

    Args:
        source: the dataset.
        job: what to make.
        done: called after every object.

    Raises:
        DatasetError: the folder holds something else, or cannot be written.
    """
    settings: dict[str, Any] = {"source": source.layout, "resolution": job.size, "world": asdict(source.world)}
    settings |= {"undistort": source.undistort, "convention": source.convention, "views": source.most}
    settings |= {"strict": True} if job.strict else {}
    _claim(job.out, settings)
    results: list[Converted] = []
    try:
        taken = clashes({id_: [id_] for id_ in source.ids})
        for id_ in source.ids:
            shared = f"would share its folder with {taken[id_]!r}; rename one" if id_ in taken else ""
            results.append(Converted(id_, "refused", shared) if shared else _convert_object(source, job, id_))
            done()
    finally:
        _finish(job.out, settings, results)
    return results


def _convert_object(source: Collection, job: Conversion, id_: str) -> Converted:
    if fault := fault_of(id_):
        return Converted(id_, "refused", f"its id {fault}; rename it")
    folder = job.out / "objects" / id_
    if (folder / "transforms.json").exists():
        return Converted(id_, "kept")
    try:
        with collect(only_ours=True) as heard:
            seen = source.views(id_)
            licence = spdx(seen.licence or job.licence)
            if entry := job.opt_out.entry_of(id_, seen.creator or job.creator, seen.source):
                return Converted(id_, "left out", f"the opt-out list has {entry!r}")
            if job.licences is not None and not matches(licence, job.licences):
                return Converted(id_, "left out", f"the licence of {id_} is {licence or 'not stated'}")
            described, pictures = _read(source, job, id_)
    except (DatasetError, CameraError) as error:
        return Converted(id_, "refused", str(error))
    except Exception as error:  # other people's cameras and pictures provoke errors of any kind
        return Converted(id_, "refused", f"cannot be converted: {type(error).__name__}: {error}")
    notes = (*notes_of(described.extra), *heard)
    if job.strict and notes:
        return Converted(id_, "refused", refusal(notes))
    _write(folder, with_notes(described, notes), pictures)
    return Converted(id_, "converted")


def _check_conventions(source: Collection, id_: str) -> None:
    """Refuse cameras that fit the silhouettes only when they are read otherwise; note those that never fit.

    Raises:
        DatasetError: says what the cameras are and what to do.
    """
    views = open_views(source, id_)
    if views.fit is None or views.fit.fits:
        return
    if views.fit.reading is not None:
        read_as = f"read as {views.seen.read_as}, " if views.fit.reading.check == "camera-convention" else ""
        unfit = f"{read_as}the cameras do not fit the silhouettes"
        raise DatasetError(f"{unfit}; they look like {views.fit.reading.name}: {views.advice}")
    missed = f"they miss by {views.fit.error:.3g} pixels where {views.tolerance:.3g} are usual"
    note(
        "camera", f"the cameras fit the silhouettes under no known convention: {missed}; tunemv3d data check says more"
    )


def _read(source: Collection, job: Conversion, id_: str) -> tuple[PosedImages, list[Any]]:
    """Read one object's record and RGBA pictures, ``h w 4`` each, as they shall be written."""
    _check_conventions(source, id_)
    record = source.record(id_)
    intrinsics = record.cameras.intrinsics.double().numpy()
    seen = []
    is_cut_out = False
    for view in range(record.views):
        rgba = source.picture(id_, view)
        seen.append(Seen.of(rgba, intrinsics[view]))
        is_cut_out = is_cut_out or bool((rgba[..., 3] < 128).any())
    if not is_cut_out:
        raise DatasetError(
            "no picture has a transparent ground; cut the object out first: as alpha, or as pictures of the same "
            "names in masks/, white where the object is (rembg p -om images masks makes them)"
        )
    frame = common_frame(seen, job.size)
    pictures = [frame.cut(source.picture(id_, view), intrinsics[view]) for view in range(record.views)]
    return _described(source, job, record, pictures, frame.intrinsics, frame.size), pictures


def _described(
    source: Collection,
    job: Conversion,
    record: PosedImages,
    pictures: list[Any],
    intrinsics: Any,
    size: tuple[int, int],
) -> PosedImages:
    given = job.captions.of(record.id) if job.captions else ()
    captions = [*given, *record.captions]
    views = source.views(record.id)
    shared = torch.from_numpy(intrinsics).float().expand(len(pictures), 4)
    return replace(
        record,
        files=tuple(f"{view:03d}.webp" for view in range(len(pictures))),
        cameras=Cameras(record.cameras.camera_to_world, shared),
        size=size,
        captions=tuple(
            dict.fromkeys(captions or describe_pictures(pictures, views.name, load_vocabulary(job.vocabulary)))
        ),
        licence=spdx(record.licence or job.licence),
        creator=record.creator or job.creator,
        source=record.source or f"{source.path.resolve().name}: {record.id}",
    )


def _write(folder: Path, record: PosedImages, pictures: list[Any]) -> None:
    """Write the pictures, and last ``transforms.json``, which marks the object as finished."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, picture in zip(record.files, pictures, strict=True):
            save_image(folder / file, np.where(picture[..., 3:] == 0, 0, picture).astype(np.uint8), None)
        write_object(folder, record)
    except OSError as error:
        raise DatasetError(f"{folder}: cannot be written: {error}; finished objects are kept, run it again") from None


def _claim(out: Path, settings: dict[str, Any]) -> None:
    """Take the folder for this conversion, or refuse where it holds something else."""
    path = out / "dataset.json"
    wanted = json.loads(json.dumps(settings))  # as it is read back: tuples become lists
    if path.exists():
        before = read_json(path).get("settings")
        if before != wanted:
            raise DatasetError(f"{path}: this folder was made with {before}, now asked: {wanted}; use another --out")
    elif out.exists() and any(out.iterdir()):
        raise DatasetError(f"{out}: not empty and not a dataset; use another --out")
    else:
        write_json(path, {"settings": wanted})


def _finish(out: Path, settings: dict[str, Any], results: Sequence[Converted]) -> None:
    """Write the manifest and the attribution of all finished objects, earlier runs' included, and the report."""
    finished = sorted(path.parent for path in (out / "objects").glob("*/transforms.json"))
    records = [read_object(folder) for folder in finished]
    if records:
        entries = [
            {"id": r.id, "split": str(r.extra.get("split", "train")), "licence": r.licence, "source": r.source}
            for r in records
        ]
        write_manifest(out, out.resolve().name, entries, settings=settings)
        (out / "ATTRIBUTION.md").write_text("".join(attribution(records)), encoding="utf-8", newline="\n")
    refused = [{"id": r.id, "status": r.status, "reason": r.note} for r in results if r.status == "refused"]
    noted = [
        {"id": r.id, "status": "converted", "notes": [note.to_json() for note in notes_of(r.extra)]} for r in records
    ]
    head = {"converted": len(records), "refused": len(refused), "notes": NoteCounts.of(records).to_json()}
    write_json_list(out / "report.json", head, "objects", (*noted, *refused))
