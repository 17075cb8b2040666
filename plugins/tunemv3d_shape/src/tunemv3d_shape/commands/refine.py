"""The command ``tunemv3d refine``."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

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
from tunemv3d_core.console import console, messages, print_json
from tunemv3d_core.errors import EXIT_FINDINGS, EXIT_INTERRUPTED, TuneMV3DError
from tunemv3d_shape.commands.mesh import show_notes, stages_shown, write_object_mesh
from tunemv3d_shape.commands.objects import SourceArgument, objects, refused

if TYPE_CHECKING:
    from tunemv3d_core.io.generated import GeneratedBy
    from tunemv3d_core.io.samples import SampledObject
    from tunemv3d_core.slots import Pictures, Shape
    from tunemv3d_shape.checkpoints import Checkpoints
    from tunemv3d_shape.refinement.comparing import Candidate
    from tunemv3d_shape.refinement.fit import FitOptions, FitProgress
    from tunemv3d_shape.refinement.shape import RefinedShape


@dataclass(frozen=True)
class Wanted:
    """Things that are asked of every object.

    Attributes:
        size: of the mesh, as of ``real_size.wanted_height``.
        anyway: whether the refined shape is returned even where it is no better.
        video: whether a turntable is made.
    """

    size: str
    anyway: bool
    video: bool


def refine(
    source: SourceArgument,
    prompts: Annotated[list[str] | None, typer.Argument(help="With a checkpoint: what to sample and refine.")] = None,
    out: Annotated[Path, typer.Option(help="Folder that gets one folder per refined object.")] = Path("refined"),
    cells: Annotated[int, typer.Option(min=16, max=512, help="Cells along the fitted grid's side.")] = 96,
    steps: Annotated[int, typer.Option(min=1, help="Steps at most; a fit that no longer improves ends before.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the rays that are drawn.")] = 0,
    size: Annotated[str, typer.Option(help="The mesh's height, as of `tunemv3d mesh`.")] = "",
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Return the refined shape even where held-out views say it is no better.")
    ] = False,
    video: Annotated[
        bool, typer.Option("--video", help="Also a turntable of the shape before and after, side by side.")
    ] = False,
    device: DeviceOption = "",
    dtype: DtypeOption = "auto",
    offload: OffloadOption = "none",
    base: BaseOption = "",
    lora: LoraOption = None,
    embedding: EmbeddingOption = None,
    show: OpenOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was made as JSON.")] = False,
) -> None:
    """Fit shape and colours of sampled objects to their own views, and mesh what is better, before or after.

    Every fourth view is held out and judges. Ctrl-C ends a fit early and keeps what is there.

    progress.png in the object's folder shows how it stands.
    """
    # Heavy: torch and trimesh.
    from tunemv3d_core.additions import Additions
    from tunemv3d_core.io.real_size import wanted_height
    from tunemv3d_core.io.sample_files import check_writable
    from tunemv3d_shape.checkpoints import Checkpoints
    from tunemv3d_shape.refinement.fit import FitOptions

    check_writable(out)
    wanted_height("", size)
    checkpoints = Checkpoints(read_placement(device, dtype, offload), Additions.of(base, lora, embedding))
    found = objects(source, prompts or [], out / "samples", checkpoints)
    options, wanted = FitOptions(cells=cells, steps=steps, seed=seed), Wanted(size, anyway, video)
    made: list[dict[str, Any]] = []
    failed = found.failed
    for folder in found.folders:
        try:
            made.append(_refine_one(folder, out / folder.resolve().name, checkpoints, options, wanted))
        except TuneMV3DError as error:
            failed.append(refused(folder, error))
            continue
        if not as_json:
            _show(made[-1])
        if made[-1]["interrupted"]:
            break
    if as_json:
        print_json({"made": made, "failed": failed})
    if show and made:
        show_result(Path(made[0]["folder"]) / "comparison.png")
    if made and not as_json:
        say_next("tunemv3d", "report", out, "--open")
    if made and made[-1]["interrupted"]:
        raise typer.Exit(EXIT_INTERRUPTED)
    if failed:
        raise typer.Exit(EXIT_FINDINGS)


def _refine_one(
    folder: Path, place: Path, checkpoints: "Checkpoints", options: "FitOptions", wanted: "Wanted"
) -> dict[str, Any]:
    """Refine one sampled object into the new sampled object ``place``; return what was made, for machines."""
    from tunemv3d_core.errors import SampleError
    from tunemv3d_core.io.generated import GeneratedBy
    from tunemv3d_core.io.samples import MANIFEST, SampledObject, read_pictures, write_manifest
    from tunemv3d_shape.checkpoints import read_whole_sample
    from tunemv3d_shape.generate import STAGES, MarchingCubes
    from tunemv3d_shape.held_out import check_views
    from tunemv3d_shape.quality import objections
    from tunemv3d_shape.refinement.comparing import candidate
    from tunemv3d_shape.spec import MarchingCubesSpec

    if (place / MANIFEST).exists() or place.resolve() == folder.resolve():
        raise SampleError(f"{place}: holds a refined object already; remove it, or choose another folder with --out")
    began = time.perf_counter()
    sample, pictures = read_whole_sample(folder), read_pictures(folder)
    check_views(pictures, "a refinement")
    mesher = MarchingCubes(MarchingCubesSpec())
    before = candidate(checkpoints.shape(sample), pictures, mesher.options, checkpoints.device)
    shape, looks, interrupted = _fit_with_progress(before.agreed.shape, sample, pictures, options, checkpoints, place)
    after = candidate(shape, pictures, mesher.options, checkpoints.device)
    against = objections(before.quality, after.quality)
    kept = wanted.anyway or not against
    _copy_sample(folder, place)
    by = GeneratedBy.of(sample.manifest)
    files = _write_shown(place, by, before, after, pictures, wanted.video)
    if kept:
        files |= _write_shape(place, by, shape, pictures)
    refined = {"cells": options.cells, "seed": options.seed, "interrupted": interrupted, "looks": looks, "kept": kept}
    refined |= {"before": before.quality.rounded(), "after": after.quality.rounded(), "objections": against}
    manifest = _manifest(sample.manifest, refined, files)
    # The last file: it makes the folder an object, whatever becomes of the mesh.
    write_manifest(place, manifest)
    with stages_shown(folder.name, len(STAGES)) as on_stage:
        made, _ = mesher.texture((after if kept else before).agreed, pictures, on_stage)
    written = write_object_mesh(
        place, SampledObject(place, manifest, sample.latents, sample.cameras), made, size=wanted.size
    )
    seconds = round(time.perf_counter() - began, 2)
    return {**written, **refined, "steps": looks[-1]["step"], "seconds": seconds}


def _manifest(sampled: dict[str, Any], refined: dict[str, Any], files: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest of the new object: the sampled one's, without the figures of a mesh that it may have."""
    about = {key: value for key, value in sampled.items() if key not in ("silhouette_iou", "views_psnr")}
    kept = {key: file for key, file in (sampled.get("files") or {}).items() if key in ("views", "cameras")}
    return {**about, "refined": refined, "files": {**kept, **files}}


def _write_shape(place: Path, by: "GeneratedBy", shape: "RefinedShape", pictures: "Pictures") -> dict[str, Any]:
    """Write the refined shape and its pictures at the views' cameras; return their names by kind."""
    from tunemv3d_core.io.samples import write_file
    from tunemv3d_shape.refinement.shape import REFINED, write_refined
    from tunemv3d_shape.views import png

    write_refined(place, shape)
    renders = shape.pictures(pictures.cameras)
    names = [f"renders/{i:03d}.png" for i in range(len(renders.alpha))]
    for i, name in enumerate(names):
        write_file(place / name, png(by, renders.colours[i], renders.alpha[i]))
    return {"refined": REFINED, "renders": names}


def _write_shown(
    place: Path, by: "GeneratedBy", before: "Candidate", after: "Candidate", pictures: "Pictures", video: bool
) -> dict[str, Any]:
    """Write both surfaces as a picture and, on request, moving; return the names by kind."""
    from tunemv3d_core.viz.animation import write_animation
    from tunemv3d_shape.refinement.comparing import comparison, turntable

    files = {"comparison": "comparison.png"}
    write_animation(place / files["comparison"], [comparison(before, after, pictures)], by)
    if video:
        files["turntable"] = "turntable.webp"
        write_animation(place / files["turntable"], turntable(before, after, pictures), by, milliseconds=80)
    return files


def _fit_with_progress(
    start: "Shape",
    sample: "SampledObject",
    pictures: "Pictures",
    options: "FitOptions",
    checkpoints: "Checkpoints",
    place: Path,
) -> tuple["RefinedShape", list[dict[str, float]], bool]:
    """Fit to the views that are not held out, with a bar and a picture of how it stands; results as of ``fit``."""
    from tunemv3d_core.io.generated import GeneratedBy
    from tunemv3d_core.io.samples import write_file
    from tunemv3d_shape.held_out import split
    from tunemv3d_shape.refinement.fit import fit
    from tunemv3d_shape.views import beside_each_other

    (fitted, _), by = split(pictures), GeneratedBy.of(sample.manifest)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[loss]}"))
    with Progress(*columns, TimeElapsedColumn(), console=messages, transient=True) as progress:
        task = progress.add_task(sample.folder.name.replace("[", "("), total=options.steps, loss="")

        def on_progress(stand: "FitProgress") -> None:
            progress.update(task, loss=f"loss {stand.loss:.4f}")
            write_file(place / "progress.png", beside_each_other(by, fitted, stand.shape.pictures, views=2))

        return fit(
            start,
            fitted,
            options,
            checkpoints.device,
            on_step=lambda step: progress.update(task, completed=step),
            on_progress=on_progress,
        )


def _copy_sample(folder: Path, place: Path) -> None:
    """Copy what makes a folder a sampled object: views, cameras, scene; the manifest comes last and from the caller.

    Raises:
        SampleError: a file cannot be read or written.
    """
    from tunemv3d_core.errors import SampleError
    from tunemv3d_core.io.posed_images import read_object

    try:
        for file in ("transforms.json", "scene.safetensors", *read_object(folder).files):
            (place / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / file, place / file)
    except OSError as error:
        raise SampleError(f"{place}: could not be written: {error}") from error


def _show(made: dict[str, Any]) -> None:
    before, after = made["before"], made["after"]
    told = "refined" if made["kept"] else "as it was, which is better"
    figures = [
        f"PSNR of held-out views {before['psnr']:.2f} to {after['psnr']:.2f} dB",
        f"mean angle between faces {before['mean_angle']:.1f} to {after['mean_angle']:.1f} degrees",
        f"non-manifold edges {before['non_manifold_edges']} to {after['non_manifold_edges']}",
        f"{made['steps']} steps",
        f"{made['seconds']:.0f} s",
    ]
    line = f"{Path(made['folder']) / made['files'][0]}  {told}  ({', '.join(figures)})"
    console.print(line, soft_wrap=True, highlight=False, markup=False)
    reasons = made["objections"]
    made = {**made, "notes": [*(f"the refinement did not help: {reason}" for reason in reasons), *made["notes"]]}
    show_notes(made)
