"""The command ``tunemv3d mesh``."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tunemv3d_core.cli.ending import OpenOption, say_next
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
from tunemv3d_shape.commands.objects import SAMPLES, SourceArgument, objects, refused, show_mesh

if TYPE_CHECKING:
    from tunemv3d_core.io.samples import SampledObject
    from tunemv3d_core.slots import Mesher, TexturedMesh
    from tunemv3d_shape.checkpoints import Checkpoints
    from tunemv3d_shape.surface import Triangles

FORMATS = ("glb", "obj", "ply")

MARCHING_CUBES = "marching-cubes"
"""Name of our mesher."""


_PromptsArgument = Annotated[list[str] | None, typer.Argument(help="With a checkpoint: what to sample and mesh.")]
_OutOption = Annotated[
    Path | None,
    typer.Option(help="Folder that gets one folder per object; default: the samples' own folders, or samples."),
]
_MesherOption = Annotated[str, typer.Option(help="What makes the mesh, as `tunemv3d plugins list` names it.")]
_ResolutionOption = Annotated[
    int | None, typer.Option(min=16, max=1024, help="Cells along the grid's side; default: 256.")
]
_FacesOption = Annotated[int | None, typer.Option(min=100, help="Triangles at most; default: 20000.")]
_TextureOption = Annotated[
    int | None, typer.Option(min=32, max=8192, help="Texels along the texture's side; default: 1024.")
]
_UnwrapSecondsOption = Annotated[
    float | None, typer.Option(help="Longest time for the texture's charts, seconds; default: 60.")
]
_SizeOption = Annotated[
    str,
    typer.Option(
        help="The mesh's height, such as 0.45m, 45cm or 18in; none: a world unit is a metre; default: "
        "what is typical of the prompt's thing."
    ),
]
_RawOption = Annotated[bool, typer.Option("--raw", help="Write the surface before it is simplified too, as raw.ply.")]
_FormatsOption = Annotated[str, typer.Option("--format", help="glb, obj, ply, or several: glb,ply.")]
_AsJsonOption = Annotated[bool, typer.Option("--json", help="Print what was made as JSON.")]


def mesh(
    source: SourceArgument,
    prompts: _PromptsArgument = None,
    out: _OutOption = None,
    mesher: _MesherOption = MARCHING_CUBES,
    resolution: _ResolutionOption = None,
    faces: _FacesOption = None,
    texture: _TextureOption = None,
    unwrap_seconds: _UnwrapSecondsOption = None,
    size: _SizeOption = "",
    raw: _RawOption = False,
    formats: _FormatsOption = "glb",
    device: DeviceOption = "",
    dtype: DtypeOption = "auto",
    offload: OffloadOption = "none",
    base: BaseOption = "",
    lora: LoraOption = None,
    embedding: EmbeddingOption = None,
    show: OpenOption = False,
    as_json: _AsJsonOption = False,
) -> None:
    """Turn sampled objects into textured meshes that any 3D program opens."""
    wanted = _formats(formats)
    # Heavy: torch and trimesh.
    from tunemv3d_core.additions import Additions
    from tunemv3d_core.io.real_size import wanted_height
    from tunemv3d_core.io.sample_files import check_writable
    from tunemv3d_shape.checkpoints import Checkpoints

    if out is not None:
        check_writable(out)
    wanted_height("", size)
    options = {"resolution": resolution, "faces": faces, "texture": texture, "unwrap_seconds": unwrap_seconds}
    made_by = _mesher(mesher, {name: value for name, value in options.items() if value is not None}, raw)
    checkpoints = Checkpoints(read_placement(device, dtype, offload), Additions.of(base, lora, embedding))
    found = objects(source, prompts or [], out, checkpoints)
    made: list[dict[str, Any]] = []
    failed = found.failed
    for folder in found.folders:
        try:
            place = folder if found.into is None else found.into / folder.resolve().name
            made.append(mesh_sample(folder, place, checkpoints, made_by, wanted, raw, size))
        except TuneMV3DError as error:
            failed.append(refused(folder, error))
            continue
        if not as_json:
            _show(made[-1])
    if as_json:
        print_json({"made": made, "failed": failed})
    elif made and not show:
        say_next("tunemv3d", "report", out or SAMPLES if prompts else source, "--open")
    if made and show:
        show_mesh(Path(made[0]["folder"]), made[0]["files"][0])
    if failed:
        raise typer.Exit(EXIT_FINDINGS)


def _mesher(name: str, options: dict[str, Any], raw: bool) -> "Mesher":
    """Build the mesher.

    Raises:
        TuneMV3DError: none of this name, or options that are only ours for another one.
    """
    from tunemv3d_core.generation import build_mesher
    from tunemv3d_shape.generate import MarchingCubes
    from tunemv3d_shape.spec import MarchingCubesSpec

    if name == MARCHING_CUBES:
        return MarchingCubes(MarchingCubesSpec(**options))
    if given := [f"--{key.replace('_', '-')}" for key in (*options, *(["raw"] if raw else []))]:
        raise TuneMV3DError(f"{', '.join(given)}: only for the mesher {MARCHING_CUBES}, not for '{name}'")
    return build_mesher(name)


def mesh_sample(
    folder: Path,
    place: Path,
    checkpoints: "Checkpoints",
    mesher: "Mesher",
    formats: tuple[str, ...] = ("glb",),
    raw: bool = False,
    size: str = "",
) -> dict[str, Any]:
    """Mesh one sampled object into ``place``; return what was made, for machines."""
    from tunemv3d_core.io.sample_files import check_writable
    from tunemv3d_core.io.samples import read_pictures
    from tunemv3d_shape.checkpoints import read_whole_sample
    from tunemv3d_shape.generate import STAGES, MarchingCubes
    from tunemv3d_shape.refinement.shape import REFINED, read_refined

    began = time.perf_counter()
    check_writable(place)
    sample, pictures = read_whole_sample(folder), read_pictures(folder)
    shape = read_refined(folder) if (folder / REFINED).is_file() else checkpoints.shape(sample)
    if isinstance(mesher, MarchingCubes):
        with stages_shown(folder.name, len(STAGES)) as on_stage:
            made, whole = mesher.mesh_whole(shape, pictures, checkpoints.device, on_stage)
    else:
        made, whole = mesher(shape, pictures, checkpoints.device), None
    written = write_object_mesh(place, sample, made, whole if raw else None, formats, size)
    return {**written, "seconds": round(time.perf_counter() - began, 2)}


def write_object_mesh(
    place: Path,
    sample: "SampledObject",
    mesh: "TexturedMesh",
    raw: "Triangles | None" = None,
    formats: tuple[str, ...] = ("glb",),
    size: str = "",
) -> dict[str, Any]:
    """Write a mesh of a sampled object into ``place``, and into its manifest if that is its folder.

    Args:
        place: a folder.
        sample: the object.
        mesh: of it.
        raw: the surface before it was simplified, if it should be written too.
        formats: some of ``FORMATS``.
        size: of ``real_size.wanted_height``.

    Returns:
        What was made, for machines.
    """
    from tunemv3d_core.io.generated import GeneratedBy
    from tunemv3d_core.io.real_size import as_large_as, wanted_height
    from tunemv3d_core.io.samples import note_files, write_file
    from tunemv3d_shape.export import as_trimesh, ply, write_mesh
    from tunemv3d_shape.surface import Triangles

    height, by = wanted_height(sample.prompt, size), GeneratedBy.of(sample.manifest)
    made = as_large_as(mesh, height)
    files = write_mesh(place, "object", made, formats, by)
    about = {"folder": str(place), "files": files, "faces": len(made.faces), "watertight": made.watertight}
    if raw is not None:
        scale = float(abs(made.vertices).max() / abs(mesh.vertices).max())
        write_file(place / "raw.ply", ply(Triangles(raw.vertices * scale, raw.faces), by))
        files.append("raw.ply")
        about["raw_watertight"] = bool(as_trimesh(raw).is_watertight)
    if place == sample.folder:
        note_files(place, {"mesh": files[0]}, made.figures, made.notes)
    sized = "a world unit is a metre" if height is None else height.reason
    return {**about, **made.figures, "size_from": sized, "notes": list(made.notes)}


@contextmanager
def stages_shown(name: str, stages: int) -> Iterator[Callable[[str], None]]:
    """Show a progress bar; what it gives is called with each stage when it begins."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[stage]}"), TimeElapsedColumn())
    with Progress(*columns, console=messages, transient=True) as progress:
        task = progress.add_task(name.replace("[", "("), total=stages, stage="", completed=-1)

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
    figures.append(f"{made['height']:.3g} m high: {made['size_from']}")
    figures += _agreement(made)
    if made.get("views_psnr") is not None:
        figures.append(f"shape's own views on white {made['views_psnr']:.1f} dB")
    figures.append(f"{made['seconds']:.0f} s")
    line = f"{Path(made['folder']) / made['files'][0]}  ({', '.join(figures)})"
    console.print(line, soft_wrap=True, highlight=False, markup=False)
    show_notes(made)


def _agreement(made: dict[str, Any]) -> list[str]:
    """Say how well silhouettes agree with views that nothing was fitted to, and what that decided."""
    if made.get("silhouette_iou") is None:
        return []
    agrees = f"silhouettes' IoU with held-out masks {made['silhouette_iou']:.3f}"
    generated, corrected = made["iou_as_generated"], made["iou_corrected"]
    if corrected is None:
        return [agrees]
    kept = "kept" if corrected > generated else "left out"
    return [agrees, f"the masks' correction {kept}: {generated:.3f} to {corrected:.3f}"]


def show_notes(made: dict[str, Any]) -> None:
    """Print what was noted of an object."""
    for note in made["notes"]:
        messages.print(f"{made['folder']}: {note}", style="yellow", soft_wrap=True)
