"""The command ``tunemv3d mesh``."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tunemv3d_core.console import console, messages, print_json
from tunemv3d_core.errors import EXIT_FINDINGS, TuneMV3DError
from tunemv3d_shape.commands.objects import check_out, objects, refused

if TYPE_CHECKING:
    from tunemv3d_shape.generate import MeshOptions
    from tunemv3d_shape.shapes import Models

FORMATS = ("glb", "obj", "ply")

FIGURES = ("silhouette_iou", "views_psnr")
"""What is measured of a mesh and stands in the manifest: ``tracing.silhouette_iou`` and ``views.psnr``."""


def mesh(
    source: Annotated[str, typer.Argument(help="A sampled object's folder, a folder of them, or a checkpoint.")],
    prompts: Annotated[list[str] | None, typer.Argument(help="With a checkpoint: what to sample and mesh.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder that gets one folder an object; default: the samples' own folders, or samples."),
    ] = None,
    resolution: Annotated[int, typer.Option(min=16, max=1024, help="Cells along the grid's side.")] = 256,
    faces: Annotated[int, typer.Option(min=100, help="Triangles at most.")] = 20000,
    texture: Annotated[int, typer.Option(min=32, max=8192, help="Texels along the texture's side.")] = 1024,
    raw: Annotated[
        bool, typer.Option("--raw", help="Write the surface before it is simplified too, as raw.ply.")
    ] = False,
    formats: Annotated[str, typer.Option("--format", help="glb, obj, ply, or several: glb,ply.")] = "glb",
    device: Annotated[str, typer.Option(help="Such as cpu or cuda; default: cuda where there is one.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print what was made as JSON.")] = False,
) -> None:
    """Turn sampled objects into textured meshes that any 3D program opens."""
    wanted = _formats(formats)
    check_out(out)
    # Heavy: torch and trimesh.
    from tunemv3d_core.devices import find_device
    from tunemv3d_shape.generate import MeshOptions
    from tunemv3d_shape.shapes import Models

    models = Models(find_device(device))
    found = objects(source, prompts or [], out, models)
    options = MeshOptions(resolution, faces, texture)
    made, failed = [], []
    for folder in found.folders:
        try:
            place = folder if found.into is None else found.into / folder.resolve().name
            made.append(mesh_sample(folder, place, models, options, wanted, raw))
        except TuneMV3DError as error:
            failed.append(refused(folder, error))
            continue
        if not as_json:
            _show(made[-1])
    if as_json:
        print_json({"made": made, "failed": failed})
    if failed or not found.whole:
        raise typer.Exit(EXIT_FINDINGS)


def mesh_sample(
    folder: Path, place: Path, models: "Models", options: "MeshOptions", formats: tuple[str, ...], raw: bool
) -> dict[str, Any]:
    """Mesh one sampled object into ``place``; says what was made."""
    from tunemv3d_shape.export import as_trimesh, ply, provenance, write_mesh, write_whole
    from tunemv3d_shape.generate import STAGES, make_mesh
    from tunemv3d_shape.refinement.shape import REFINED, read_refined
    from tunemv3d_shape.shapes import read_whole_sample
    from tunemv3d_shape.silhouette_fit import agree
    from tunemv3d_shape.tracing import silhouette_iou
    from tunemv3d_shape.views import psnr, read_pictures

    began = time.perf_counter()
    check_out(place)
    sample, pictures = read_whole_sample(folder), read_pictures(folder)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[stage]}"), TimeElapsedColumn())
    with Progress(*columns, console=messages, transient=True) as progress:
        task = progress.add_task(folder.name.replace("[", "("), total=len(STAGES) + 1, stage="")

        def on_stage(stage: str) -> None:
            progress.update(task, advance=1, stage=stage)

        own = read_refined(folder) if (folder / REFINED).is_file() else models.shape(sample)
        shape = agree(own, pictures, models.device)
        on_stage("silhouettes")
        made, whole = make_mesh(shape, pictures, options, models.device, on_stage)
        shown = shape.pictures(pictures.cameras)
    files = write_mesh(place, "object", made, formats, provenance(sample.manifest))
    if raw:
        write_whole(place / "raw.ply", ply(whole))
        files.append("raw.ply")
    figures = {
        "silhouette_iou": round(silhouette_iou(made.surface, pictures), 4),
        "views_psnr": None if shown is None else round(psnr(shown, pictures), 2),
    }
    if place == folder:
        _enter(folder, sample.manifest, files[0], figures)
    return {
        "folder": str(place),
        "files": files,
        "faces": len(made.surface.faces),
        "watertight": made.watertight,
        "raw_watertight": bool(as_trimesh(whole).is_watertight),
        **figures,
        "seconds": round(time.perf_counter() - began, 2),
    }


def _enter(folder: Path, manifest: dict[str, Any], file: str, figures: dict[str, Any]) -> None:
    """Name the mesh in the sample's manifest, with its figures."""
    from tunemv3d_shape.export import write_manifest

    known = manifest.get("files")
    write_manifest(folder, {**manifest, **figures, "files": {**(known or {}), "mesh": file}})


def _formats(text: str) -> tuple[str, ...]:
    """Formats from words between commas or blanks, in our order.

    Raises:
        TuneMV3DError: one that is not known, or none.
    """
    words = text.lower().replace(",", " ").split()
    if not words or (strays := [word for word in words if word not in FORMATS]):
        raise TuneMV3DError(f"--format {text}: {' '.join(strays) if words else 'none'}; choose of {', '.join(FORMATS)}")
    return tuple(name for name in FORMATS if name in words)


def _show(made: dict[str, Any]) -> None:
    told = [f"{made['faces']} faces", "watertight" if made["watertight"] else "not watertight"]
    told.append(f"silhouettes' IoU with the masks {made['silhouette_iou']:.3f}")
    if made["views_psnr"] is not None:
        told.append(f"shape's own views on white {made['views_psnr']:.1f} dB")
    told.append(f"{made['seconds']:.0f} s")
    line = f"{Path(made['folder']) / made['files'][0]}  ({', '.join(told)})"
    console.print(line, soft_wrap=True, highlight=False, markup=False)
