"""The command ``tunemv3d mesh``."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

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
from tunemv3d_core.errors import EXIT_FINDINGS, TuneMV3DError
from tunemv3d_shape.commands.objects import objects, refused

if TYPE_CHECKING:
    from tunemv3d_shape.checkpoints import Checkpoints
    from tunemv3d_shape.generate import MarchingCubes

FORMATS = ("glb", "obj", "ply")


def mesh(
    source: Annotated[str, typer.Argument(help="A sampled object's folder, a folder of them, or a checkpoint.")],
    prompts: Annotated[list[str] | None, typer.Argument(help="With a checkpoint: what to sample and mesh.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder that gets one folder per object; default: the samples' own folders, or samples."),
    ] = None,
    resolution: Annotated[int, typer.Option(min=16, max=1024, help="Cells along the grid's side.")] = 256,
    faces: Annotated[int, typer.Option(min=100, help="Triangles at most.")] = 20000,
    texture: Annotated[int, typer.Option(min=32, max=8192, help="Texels along the texture's side.")] = 1024,
    raw: Annotated[
        bool, typer.Option("--raw", help="Write the surface before it is simplified too, as raw.ply.")
    ] = False,
    formats: Annotated[str, typer.Option("--format", help="glb, obj, ply, or several: glb,ply.")] = "glb",
    device: DeviceOption = "",
    dtype: DtypeOption = "auto",
    offload: OffloadOption = "none",
    base: BaseOption = "",
    lora: LoraOption = None,
    embedding: EmbeddingOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was made as JSON.")] = False,
) -> None:
    """Turn sampled objects into textured meshes that any 3D program opens."""
    wanted = _formats(formats)
    # Heavy: torch and trimesh.
    from tunemv3d_core.additions import Additions
    from tunemv3d_core.io.sample_files import check_writable
    from tunemv3d_shape.checkpoints import Checkpoints
    from tunemv3d_shape.generate import MarchingCubes
    from tunemv3d_shape.spec import MarchingCubesSpec

    if out is not None:
        check_writable(out)
    checkpoints = Checkpoints(read_placement(device, dtype, offload), Additions.of(base, lora, embedding))
    found = objects(source, prompts or [], out, checkpoints)
    mesher = MarchingCubes(MarchingCubesSpec(resolution=resolution, faces=faces, texture=texture))
    made: list[dict[str, Any]] = []
    failed = found.failed
    for folder in found.folders:
        try:
            place = folder if found.into is None else found.into / folder.resolve().name
            made.append(mesh_sample(folder, place, checkpoints, mesher, wanted, raw))
        except TuneMV3DError as error:
            failed.append(refused(folder, error))
            continue
        if not as_json:
            _show(made[-1])
    if as_json:
        print_json({"made": made, "failed": failed})
    if failed:
        raise typer.Exit(EXIT_FINDINGS)


def mesh_sample(
    folder: Path,
    place: Path,
    checkpoints: "Checkpoints",
    mesher: "MarchingCubes",
    formats: tuple[str, ...] = ("glb",),
    raw: bool = False,
) -> dict[str, Any]:
    """Mesh one sampled object into ``place``; return what was made, for machines."""
    from tunemv3d_core.io.glb import mesh_provenance
    from tunemv3d_core.io.sample_files import check_writable
    from tunemv3d_core.io.samples import note_files, read_pictures, write_file
    from tunemv3d_shape.checkpoints import read_whole_sample
    from tunemv3d_shape.export import as_trimesh, ply, write_mesh
    from tunemv3d_shape.generate import STAGES
    from tunemv3d_shape.refinement.shape import REFINED, read_refined

    began = time.perf_counter()
    check_writable(place)
    sample, pictures = read_whole_sample(folder), read_pictures(folder)
    with _stages_shown(folder.name, len(STAGES)) as on_stage:
        shape = read_refined(folder) if (folder / REFINED).is_file() else checkpoints.shape(sample)
        made, whole = mesher.mesh_whole(shape, pictures, checkpoints.device, on_stage)
    files = write_mesh(place, "object", made, formats, mesh_provenance(sample.manifest))
    if raw:
        write_file(place / "raw.ply", ply(whole))
        files.append("raw.ply")
    if place == folder:
        note_files(folder, {"mesh": files[0]}, made.figures)
    return {
        "folder": str(place),
        "files": files,
        "faces": len(made.faces),
        "watertight": made.watertight,
        "raw_watertight": bool(as_trimesh(whole).is_watertight),
        **made.figures,
        "seconds": round(time.perf_counter() - began, 2),
    }


@contextmanager
def _stages_shown(name: str, stages: int) -> Iterator[Callable[[str], None]]:
    """Show a progress bar; what it gives is called with each stage once it is done."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[stage]}"), TimeElapsedColumn())
    with Progress(*columns, console=messages, transient=True) as progress:
        task = progress.add_task(name.replace("[", "("), total=stages, stage="")

        def on_stage(stage: str) -> None:
            progress.update(task, advance=1, stage=stage)

        yield on_stage


def _formats(text: str) -> tuple[str, ...]:
    """Read formats between commas or blanks; return them in our order.

    Raises:
        TuneMV3DError: one that is not known, or none.
    """
    words = text.lower().replace(",", " ").split()
    if not words or (strays := [word for word in words if word not in FORMATS]):
        raise TuneMV3DError(
            f"--format {text}: {' '.join(strays) if words else 'none'}; choose from {', '.join(FORMATS)}"
        )
    return tuple(name for name in FORMATS if name in words)


def _show(made: dict[str, Any]) -> None:
    figures = [f"{made['faces']} faces", "watertight" if made["watertight"] else "not watertight"]
    figures.append(f"silhouettes' IoU with the masks {made['silhouette_iou']:.3f}")
    if made["views_psnr"] is not None:
        figures.append(f"shape's own views on white {made['views_psnr']:.1f} dB")
    figures.append(f"{made['seconds']:.0f} s")
    line = f"{Path(made['folder']) / made['files'][0]}  ({', '.join(figures)})"
    console.print(line, soft_wrap=True, highlight=False, markup=False)
