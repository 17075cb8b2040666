"""The command ``tunemv3d sample``: views of objects from text, with depth, normals and the shape's scene."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunemv3d_core.cli.model_options import (
    BaseOption,
    DeviceOption,
    DtypeOption,
    EmbeddingOption,
    LoraOption,
    OffloadOption,
    read_placement,
)
from tunemv3d_core.consistency import parse_consistency
from tunemv3d_core.console import console, messages, print_json, show_error
from tunemv3d_core.errors import EXIT_BAD_INPUT, EXIT_FINDINGS, TuneMV3DError
from tunemv3d_core.io.json_files import read_json
from tunemv3d_core.io.samples import MANIFEST
from tunemv3d_modulation.cli_options import gather_prompts, place_given, read_cameras, read_given, read_seeds

if TYPE_CHECKING:
    from tunemv3d_core.additions import Additions
    from tunemv3d_core.config.run_spec import SampleSpec
    from tunemv3d_core.placement import Placement
    from tunemv3d_core.slots import Mesher
    from tunemv3d_modulation.generate import Order
    from tunemv3d_modulation.pipeline import TuneMV3DPipeline


def sample(
    checkpoint: Annotated[
        str, typer.Argument(help="A packaged checkpoint's name, its folder, a run's folder or a hub id.")
    ],
    prompts: Annotated[list[str] | None, typer.Argument(help="What to make, one object per prompt.")] = None,
    out: Annotated[Path, typer.Option(help="Folder that gets one folder per object.")] = Path("samples"),
    prompts_file: Annotated[Path | None, typer.Option("--prompts", help="A file of prompts, one per line.")] = None,
    seeds: Annotated[
        str,
        typer.Option(
            "--seeds", "--seed", help="Such as 7, 0,3,5 or 0-3: every prompt with each; same seed, same noise."
        ),
    ] = "0",
    steps: Annotated[int | None, typer.Option(help="Denoising steps; default: the checkpoint's.")] = None,
    guidance: Annotated[
        float | None, typer.Option(help="Guidance scale; at most 1 is none; default: the checkpoint's.")
    ] = None,
    consistency: Annotated[
        str,
        typer.Option(
            help="K: 0 is the plain 2D model, 1 the tuned one, more extrapolates; 2:1 falls from 2 to 1 over the "
            "steps; default: the checkpoint's."
        ),
    ] = "",
    scheduler: Annotated[str | None, typer.Option(help="Scheduler, such as ddim or dpm++.")] = None,
    negative: Annotated[str, typer.Option(help="What guidance moves away from.")] = "",
    shared_noise: Annotated[
        bool | None, typer.Option(help="Start all views from the same noise; default: the checkpoint's.")
    ] = None,
    image: Annotated[
        list[str] | None,
        typer.Option(metavar="[VIEW=]FILE", help="A picture of the object that is given, of view 0 or of VIEW."),
    ] = None,
    cut_out: Annotated[
        str,
        typer.Option(
            metavar="MODEL",
            help="What removes the background of given pictures: a model of rembg, such as u2net, or a U2-Net's ONNX "
            "file. Transparency and grounds of one colour need none.",
        ),
    ] = "",
    as_is: Annotated[
        bool, typer.Option("--as-is", help="Take given pictures as they are: nothing is cut out, moved or scaled.")
    ] = False,
    views: Annotated[
        int | None, typer.Option(help="Cameras, evenly around the object; default: as many as in training.")
    ] = None,
    elevation: Annotated[float, typer.Option(help="Degrees above the horizon.")] = 20.0,
    cameras: Annotated[Path | None, typer.Option(help="A transforms.json whose cameras to take instead.")] = None,
    strip: Annotated[bool, typer.Option("--strip", help="Also the shape appearing: strip.png and strip.webp.")] = False,
    video: Annotated[bool, typer.Option("--video", help="Also a turntable of the field's own novel views.")] = False,
    video_format: Annotated[str, typer.Option(help="webp, or mp4, which needs ffmpeg.")] = "webp",
    mesh: Annotated[bool, typer.Option("--mesh", help="Also a textured mesh, object.glb.")] = False,
    mesher: Annotated[
        str,
        typer.Option(help="What makes the mesh, as `tunemv3d plugins list` names it: --mesh with another than ours."),
    ] = "",
    device: DeviceOption = "",
    dtype: DtypeOption = "auto",
    offload: OffloadOption = "none",
    base: BaseOption = "",
    lora: LoraOption = None,
    embedding: EmbeddingOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifests as JSON.")] = False,
) -> None:
    """Sample views of one object for each prompt, with the field's renders, opacity, depth and normals."""
    from tunemv3d_core.additions import Additions
    from tunemv3d_core.config.run_spec import SampleSpec
    from tunemv3d_core.generation import build_mesher, manifest_model, manifest_options
    from tunemv3d_core.io.sample_files import check_writable
    from tunemv3d_core.viz.animation import check_format

    # Whatever can be wrong without the model is found before it is loaded.
    check_writable(out)
    check_format(video_format)
    place = read_placement(device, dtype, offload)
    meshed_by = build_mesher(mesher or "marching-cubes") if mesh or mesher else None
    wanted = [(prompt, seed) for prompt in gather_prompts(prompts or [], prompts_file) for seed in read_seeds(seeds)]
    pairs = list(dict.fromkeys(wanted))
    given: dict[str, Any] = {"steps": steps, "guidance": guidance, "shared_noise": shared_noise}
    given |= {"scheduler": scheduler, "consistency": parse_consistency(consistency) if consistency else None}
    known, notes = read_given(image or [], cut_out, as_is)
    _check(SampleSpec().merged(**given), pairs, negative)
    read_cameras(cameras, views, elevation, trained=8)
    added = Additions.of(base, lora, embedding)
    pipe, options = _load(checkpoint, place, given, added)
    _check(options, pairs, negative)
    h, w = pipe.latent_size()
    around = read_cameras(cameras, views, elevation, pipe.spec.views.inputs, aspect=w / h)
    # Heavy, and needs what was loaded.
    from tunemv3d_modulation.generate import Order

    known, framing = place_given(known, pipe.image_size(), as_is)
    order = Order(around, known, out, strip, f".{video_format}" if video else "", mesh or bool(mesher))
    order.check(pipe)
    about = manifest_model(checkpoint, pipe.spec, pipe.model, pipe.scheduler, pipe.data)
    about |= manifest_options(options, negative) | added.as_json()
    about |= {"images": image or [], "views": len(around.origins), "elevation": elevation}
    about["notes"] = notes + framing
    if len(pairs) < len(wanted):
        messages.print("the same prompt with the same seed is the same object: it is made once", style="yellow")
    made, failed = _make_all(pipe, order, pairs, about, meshed_by, as_json)
    if as_json:
        print_json([{**read_json(folder / MANIFEST), "folder": str(folder)} for folder in made])
    if failed:
        raise typer.Exit(EXIT_FINDINGS if made else EXIT_BAD_INPUT)


def _make_all(
    pipe: "TuneMV3DPipeline",
    order: "Order",
    pairs: list[tuple[str, int]],
    about: dict[str, Any],
    mesher: "Mesher | None",
    quiet: bool,
) -> tuple[list[Path], int]:
    """Make every prompt with its seed; return the folders written and how many failed, each with a message."""
    from tunemv3d_modulation.generate import MESH, add_mesh, add_pictures, make

    folders, failed = [], 0
    for prompt, seed in pairs:
        notes = [*pipe.cut_prompts([prompt]), *about["notes"]]
        _tell(prompt, notes)
        try:
            made = make(pipe, order, {**about, "prompt": prompt, "seed": seed, "notes": notes})
            folders.append(made.folder)
            _tell(prompt, made.notes[len(notes) :])
            if not quiet:
                console.print(f"{made.folder}/grid.png", soft_wrap=True, highlight=False)
            add_pictures(pipe, order, made, prompt)
            if mesher is not None:
                _tell(prompt, add_mesh(pipe, mesher, made))
                if not quiet:
                    console.print(f"{made.folder}/{MESH}", soft_wrap=True, highlight=False)
        except TuneMV3DError as error:
            failed += 1
            show_error(TuneMV3DError(f"{prompt!r}, seed {seed}: {error}"))
    return folders, failed


def _tell(prompt: str, notes: Sequence[str]) -> None:
    """Print sentences on an object."""
    for note in notes:
        messages.print(f"{prompt[:40]!r}: {note}", style="yellow", soft_wrap=True)


def _check(options: "SampleSpec", pairs: list[tuple[str, int]], negative: str) -> None:
    """Refuse prompts and seeds that cannot be sampled."""
    from tunemv3d_modulation.validate_inputs import check_prompts, check_seeds

    check_prompts([prompt for prompt, _ in pairs], [negative] * len(pairs), options.guidance)
    check_seeds([seed for _, seed in pairs], len(pairs))


def _load(
    checkpoint: str, place: "Placement", given: dict[str, Any], added: "Additions"
) -> tuple["TuneMV3DPipeline", "SampleSpec"]:
    """Load the pipeline, with the scheduler that was asked for, and merge the given options with its own.

    The scheduler must be able to take the steps.
    """
    # Heavy: torch, diffusers and transformers.
    from tunemv3d_core.sampling import prepared_scheduler
    from tunemv3d_modulation.pipeline import TuneMV3DPipeline

    pipe = TuneMV3DPipeline.from_pretrained(checkpoint, place.torch_dtype, base=added.base or None)
    added.apply(pipe.model)
    place.apply(pipe.model)
    pipe.set_progress_bar_config(disable=True)
    options = pipe.spec.sample.merged(**given)
    if given["scheduler"] is not None:
        pipe.scheduler = pipe.model.backbone.scheduler(options.scheduler)
    prepared_scheduler(pipe.model.backbone, pipe.scheduler, options.steps)
    return pipe, options
