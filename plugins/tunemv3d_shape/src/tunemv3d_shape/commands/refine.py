"""The command ``tunemv3d refine``."""

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

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
from tunemv3d_shape.commands.mesh import mesh_sample
from tunemv3d_shape.commands.objects import objects, refused

if TYPE_CHECKING:
    from tunemv3d_core.io.samples import SampledObject
    from tunemv3d_core.slots import Pictures
    from tunemv3d_shape.checkpoints import Checkpoints
    from tunemv3d_shape.refinement.fit import FitOptions, FitProgress
    from tunemv3d_shape.refinement.shape import RefinedShape


def refine(
    source: Annotated[str, typer.Argument(help="A sampled object's folder, a folder of them, or a checkpoint.")],
    prompts: Annotated[list[str] | None, typer.Argument(help="With a checkpoint: what to sample and refine.")] = None,
    out: Annotated[Path, typer.Option(help="Folder that gets one folder per refined object.")] = Path("refined"),
    cells: Annotated[int, typer.Option(min=16, max=512, help="Cells along the fitted grid's side.")] = 96,
    steps: Annotated[int, typer.Option(min=1, help="Steps at most; a fit that no longer improves ends before.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the rays that are drawn.")] = 0,
    device: DeviceOption = "",
    dtype: DtypeOption = "auto",
    offload: OffloadOption = "none",
    base: BaseOption = "",
    lora: LoraOption = None,
    embedding: EmbeddingOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was made as JSON.")] = False,
) -> None:
    """Fit shape and colours of sampled objects to their own views, then mesh them.

    Ctrl-C ends a fit early and keeps what is there. progress.png in the object's folder shows how it stands.
    """
    # Heavy: torch and trimesh.
    from tunemv3d_core.additions import Additions
    from tunemv3d_core.io.sample_files import check_writable
    from tunemv3d_shape.checkpoints import Checkpoints
    from tunemv3d_shape.refinement.fit import FitOptions

    check_writable(out)
    checkpoints = Checkpoints(read_placement(device, dtype, offload), Additions.of(base, lora, embedding))
    found = objects(source, prompts or [], out / "samples", checkpoints)
    options = FitOptions(cells=cells, steps=steps, seed=seed)
    made: list[dict[str, Any]] = []
    failed = found.failed
    for folder in found.folders:
        try:
            made.append(_refine_one(folder, out / folder.resolve().name, checkpoints, options))
        except TuneMV3DError as error:
            failed.append(refused(folder, error))
            continue
        if not as_json:
            _show(made[-1])
        if made[-1]["interrupted"]:
            break
    if as_json:
        print_json({"made": made, "failed": failed})
    if made and made[-1]["interrupted"]:
        raise typer.Exit(EXIT_INTERRUPTED)
    if failed:
        raise typer.Exit(EXIT_FINDINGS)


def _refine_one(folder: Path, place: Path, checkpoints: "Checkpoints", options: "FitOptions") -> dict[str, Any]:
    """Refine one sampled object into the new sampled object ``place``; return what was made, for machines."""
    from tunemv3d_core.errors import SampleError
    from tunemv3d_core.io.samples import MANIFEST, read_pictures, write_file, write_manifest
    from tunemv3d_shape.checkpoints import read_whole_sample
    from tunemv3d_shape.generate import MarchingCubes
    from tunemv3d_shape.refinement.shape import REFINED, write_refined
    from tunemv3d_shape.spec import MarchingCubesSpec
    from tunemv3d_shape.views import png

    if (place / MANIFEST).exists() or place.resolve() == folder.resolve():
        raise SampleError(f"{place}: holds a refined object already; remove it, or choose another folder with --out")
    began = time.perf_counter()
    sample, pictures = read_whole_sample(folder), read_pictures(folder)
    shape, looks, interrupted = _fit_with_progress(checkpoints, sample, pictures, options, place)
    _copy_sample(folder, place)
    write_refined(place, shape)
    renders = shape.pictures(pictures.cameras)
    names = [f"renders/{i:03d}.png" for i in range(len(renders.alpha))]
    for i, name in enumerate(names):
        write_file(place / name, png(renders.colours[i], renders.alpha[i]))
    refined = {"cells": options.cells, "seed": options.seed, "interrupted": interrupted, "looks": looks}
    files = {key: file for key, file in (sample.manifest.get("files") or {}).items() if key in ("views", "cameras")}
    # Figures of a mesh that the sample may have.
    about = {key: value for key, value in sample.manifest.items() if key not in ("silhouette_iou", "views_psnr")}
    manifest = {**about, "refined": refined, "files": {**files, "refined": REFINED, "renders": names}}
    # The last file: it makes the folder an object, whatever becomes of the mesh.
    write_manifest(place, manifest)
    meshed = mesh_sample(place, place, checkpoints, MarchingCubes(MarchingCubesSpec()))
    seconds = round(time.perf_counter() - began, 2)
    return {**meshed, "steps": looks[-1]["step"], "looks": looks, "interrupted": interrupted, "seconds": seconds}


def _fit_with_progress(
    checkpoints: "Checkpoints", sample: "SampledObject", pictures: "Pictures", options: "FitOptions", place: Path
) -> tuple["RefinedShape", list[dict[str, float]], bool]:
    """Fit, with a bar and a picture of how it stands; results as of ``fit``."""
    from tunemv3d_core.io.samples import write_file
    from tunemv3d_shape.refinement.fit import fit
    from tunemv3d_shape.silhouette_fit import fit_silhouettes
    from tunemv3d_shape.views import beside_each_other

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[loss]}"))
    with Progress(*columns, TimeElapsedColumn(), console=messages, transient=True) as progress:
        task = progress.add_task(sample.folder.name.replace("[", "("), total=options.steps, loss="")

        def on_progress(stand: "FitProgress") -> None:
            progress.update(task, loss=f"loss {stand.loss:.4f}")
            write_file(place / "progress.png", beside_each_other(pictures, stand.shape.pictures, views=2))

        return fit(
            fit_silhouettes(checkpoints.shape(sample), pictures, checkpoints.device),
            pictures,
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
    first, best = made["looks"][0]["loss"], min(look["loss"] for look in made["looks"])
    figures = f"{made['steps']} steps, loss of unseen rays {first:.4f} to {best:.4f}, {made['seconds']:.0f} s"
    console.print(
        f"{Path(made['folder']) / made['files'][0]}  ({figures})", soft_wrap=True, highlight=False, markup=False
    )
