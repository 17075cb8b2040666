"""The command ``tunemv3d sample``: views of objects from text, with depth, normals and what the shape came from."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tunemv3d_core.cli.calls import find_command, run_command
from tunemv3d_core.console import console, messages, print_json, show_error
from tunemv3d_core.errors import EXIT_BAD_INPUT, EXIT_FINDINGS, SampleError, TuneMV3DError
from tunemv3d_core.posed_images import read_json
from tunemv3d_core.samples import MANIFEST
from tunemv3d_core.strength import read_strength
from tunemv3d_modulation.options import read_cameras, read_images, read_prompts, read_seeds

if TYPE_CHECKING:
    from tunemv3d_core.cameras import Cameras
    from tunemv3d_modulation.pipeline import TuneMV3DOutput, TuneMV3DPipeline
    from tunemv3d_modulation.shape_pictures import Recorder

SHAPE = "tunemv3d-shape"
"""The distribution that makes meshes."""


def sample(
    checkpoint: Annotated[
        str, typer.Argument(help="A packaged checkpoint's name, its folder, a run's folder or a hub id.")
    ],
    prompts: Annotated[list[str] | None, typer.Argument(help="What to make, one object a prompt.")] = None,
    out: Annotated[Path, typer.Option(help="Folder that gets one folder an object.")] = Path("samples"),
    prompts_file: Annotated[Path | None, typer.Option("--prompts", help="A file of prompts, one a line.")] = None,
    seeds: Annotated[
        str,
        typer.Option(
            "--seeds", "--seed", help="Such as 7, 0,3,5 or 0-3: every prompt with each; same seed, same noise."
        ),
    ] = "0",
    steps: Annotated[int | None, typer.Option(help="Denoising steps; default: the checkpoint's.")] = None,
    guidance: Annotated[
        float | None, typer.Option(help="Guidance scale; 1 is none; default: the checkpoint's.")
    ] = None,
    consistency: Annotated[
        str,
        typer.Option(
            help="K: 0 is the plain 2D model, 1 the tuned one, more extrapolates; 2:1 falls from 2 to 1 over the "
            "steps; default: the checkpoint's."
        ),
    ] = "",
    scheduler: Annotated[str | None, typer.Option(help="Solver, such as ddim or dpm++.")] = None,
    negative: Annotated[str, typer.Option(help="What guidance moves away from.")] = "",
    shared_noise: Annotated[
        bool | None, typer.Option(help="Start all views from the same noise; default: the checkpoint's.")
    ] = None,
    image: Annotated[
        list[str] | None,
        typer.Option(metavar="[VIEW=]FILE", help="A picture of the object that is given, of view 0 or of VIEW."),
    ] = None,
    views: Annotated[
        int | None, typer.Option(help="Cameras, evenly around the object; default: as many as in training.")
    ] = None,
    elevation: Annotated[float, typer.Option(help="Degrees above the horizon.")] = 20.0,
    cameras: Annotated[Path | None, typer.Option(help="A transforms.json whose cameras to take instead.")] = None,
    strip: Annotated[bool, typer.Option("--strip", help="Also the shape appearing: strip.png and strip.webp.")] = False,
    video: Annotated[bool, typer.Option("--video", help="Also a turntable of the field's own novel views.")] = False,
    video_format: Annotated[str, typer.Option(help="webp, or mp4, which needs ffmpeg.")] = "webp",
    mesh: Annotated[bool, typer.Option("--mesh", help="Also object.glb, as `tunemv3d mesh` makes it.")] = False,
    device: Annotated[str, typer.Option(help="Such as cpu or cuda; default: cuda where there is one.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifests as JSON.")] = False,
) -> None:
    """Sample views of one object for each prompt, with the field's renders, opacity, depth and normals."""
    from tunemv3d_modulation.animation import check_format
    from tunemv3d_modulation.files import check_writable

    # Whatever can be wrong without the model is told before it is loaded.
    check_writable(out)
    check_format(video_format)
    if mesh:
        find_command("mesh", SHAPE)
    pairs = [(prompt, seed) for prompt in read_prompts(prompts or [], prompts_file) for seed in read_seeds(seeds)]
    strength = read_strength(consistency) if consistency else None
    given: dict[str, Any] = {"num_inference_steps": steps, "guidance_scale": guidance, "consistency": strength}
    given |= {"shared_noise": shared_noise, "negative_prompt": negative, "known_views": read_images(image or [])}
    _check(given, pairs)
    read_cameras(cameras, views, elevation, trained=8)
    pipe = _load(checkpoint, device, scheduler, steps)
    around = read_cameras(cameras, views, elevation, pipe.spec.views.inputs)
    extras = Extras(strip, f".{video_format}" if video else "", mesh)
    _check_shape(pipe, extras)
    told = {**_about(pipe, checkpoint), "views": len(around.origins), "elevation": elevation, "images": image or []}
    done, failed = [], 0
    for prompt, seed in pairs:
        try:
            done.append(make(pipe, prompt, seed, around, given, out, told, extras))
        except TuneMV3DError as error:
            failed += 1
            show_error(TuneMV3DError(f"{prompt!r}, seed {seed}: {error}"))
            continue
        if not as_json:
            console.print(f"{done[-1]['folder']}/grid.png", soft_wrap=True, highlight=False)
    if as_json:
        print_json(done)
    if failed:
        raise typer.Exit(EXIT_FINDINGS if done else EXIT_BAD_INPUT)


@dataclass(frozen=True)
class Extras:
    """What else is made of every object.

    Attributes:
        strip: the shape appearing, as a picture and moving.
        video: suffix of the turntable, "" for none.
        mesh: a textured mesh.
    """

    strip: bool = False
    video: str = ""
    mesh: bool = False


def make(
    pipe: "TuneMV3DPipeline",
    prompt: str,
    seed: int,
    cameras: "Cameras",
    given: dict[str, Any],
    out: Path,
    told: dict[str, Any],
    extras: Extras,
) -> dict[str, Any]:
    """Sample one object and write all that was asked for; its manifest, with the folder."""
    from tunemv3d_core.samples import note_files
    from tunemv3d_modulation.files import check_finite, save
    from tunemv3d_modulation.shape_pictures import Recorder

    began, recorder = time.perf_counter(), Recorder()
    output = _with_progress(pipe, prompt, cameras, {**given, "generator": seed}, recorder)
    check_finite(output)
    options = {name: given[name] for name in ("num_inference_steps", "guidance_scale", "consistency", "shared_noise")}
    options = _defaults(pipe) | {name: value for name, value in options.items() if value is not None}
    about = {**told, "prompt": prompt, "seed": seed, **options, "negative_prompt": given["negative_prompt"]}
    about |= {"seconds": round(time.perf_counter() - began, 2), "notes": pipe.cut_prompts([prompt])}
    folder = save(output, out, about)
    for note in about["notes"]:
        messages.print(f"{folder.name}: {note}", style="yellow", soft_wrap=True)
    more = _pictures(pipe, output, prompt, folder, recorder, extras)
    manifest = note_files(folder, more)
    if extras.mesh:
        run_command("mesh", SHAPE, [str(folder)])
        manifest = read_json(folder / MANIFEST)
    return {**manifest, "folder": str(folder)}


def _pictures(
    pipe: "TuneMV3DPipeline",
    output: "TuneMV3DOutput",
    prompt: str,
    folder: Path,
    recorder: "Recorder",
    extras: Extras,
) -> dict[str, str]:
    """Strip and turntable; their names by kind."""
    from tunemv3d_modulation.animation import write_animation
    from tunemv3d_modulation.shape_pictures import shape_steps, side_by_side, turntable

    made: dict[str, str] = {}
    if extras.strip:
        steps = shape_steps(pipe, prompt, output.cameras[0], recorder.seen)
        side_by_side(steps).save(folder / "strip.png")
        write_animation(folder / "strip.webp", steps, milliseconds=500)
        made |= {"strip": "strip.png", "strip_animation": "strip.webp"}
    if extras.video:
        made["turntable"] = f"turntable{extras.video}"
        write_animation(folder / made["turntable"], turntable(pipe, output.scene), milliseconds=80)  # type: ignore[arg-type]
    return made


def _check(given: dict[str, Any], pairs: list[tuple[str, int]]) -> None:
    """Check the options; None stands for the checkpoint's own, which its spec has checked."""
    from tunemv3d_modulation.call import check_options

    steps, guidance, strength = (given[name] for name in ("num_inference_steps", "guidance_scale", "consistency"))
    check_options(
        [prompt for prompt, _ in pairs],
        1 if steps is None else steps,
        guidance or 0.0,
        0.0 if strength is None else strength,
        [seed for _, seed in pairs],
        [given["negative_prompt"]] * len(pairs),
    )


def _check_shape(pipe: "TuneMV3DPipeline", extras: Extras) -> None:
    """Refuse pictures and meshes of a shape where there is none."""
    asked = {"--strip": extras.strip, "--video": extras.video, "--mesh": extras.mesh}
    options = ", ".join(option for option, given in asked.items() if given)
    spec, field = pipe.spec.model.field, pipe.model.field
    if not options or (field is not None and field.ports.novel_views):
        return
    reason = "no field in this checkpoint" if spec is None else f"the field '{spec.type}' has no 3D, only views"
    raise SampleError(f"{reason}: there is no shape to show with {options}; leave it out, or take another checkpoint")


def _load(checkpoint: str, device: str, scheduler: str | None, steps: int | None) -> "TuneMV3DPipeline":
    """The pipeline, with the solver that was asked for, which must be able to take the steps."""
    # Heavy: torch, diffusers and transformers.
    from tunemv3d_core.devices import find_device
    from tunemv3d_core.sampling import prepared_solver
    from tunemv3d_modulation.pipeline import TuneMV3DPipeline

    place = find_device(device)
    pipe = TuneMV3DPipeline.from_pretrained(checkpoint).to(place)
    pipe.set_progress_bar_config(disable=True)
    if scheduler is not None:
        pipe.scheduler = pipe.model.backbone.scheduler(scheduler)
    prepared_solver(pipe.model.backbone, pipe.scheduler, pipe.spec.sample.steps if steps is None else steps)
    return pipe


def _defaults(pipe: "TuneMV3DPipeline") -> dict[str, Any]:
    """The checkpoint's own options."""
    own = pipe.spec.sample
    return {
        "num_inference_steps": own.steps,
        "guidance_scale": own.guidance,
        "consistency": own.consistency,
        "shared_noise": own.shared_noise,
    }


def _with_progress(
    pipe: "TuneMV3DPipeline", prompt: str, cameras: "Cameras", options: dict[str, Any], recorder: "Recorder"
) -> "TuneMV3DOutput":
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    steps = options["num_inference_steps"] or pipe.spec.sample.steps
    with Progress(*columns, TimeRemainingColumn(), console=messages, transient=True) as progress:
        task = progress.add_task(prompt[:40].replace("[", "("), total=steps)

        def on_step(pipe: Any, index: int, t: float, tensors: dict[str, Any]) -> None:
            recorder(pipe, index, t, tensors)
            progress.advance(task)

        told: dict[str, Any] = {"callback_on_step_end": on_step, "callback_on_step_end_tensor_inputs": ("x_t",)}
        return pipe(prompt, cameras, output_type="pt", **told, **options)


def _about(pipe: "TuneMV3DPipeline", checkpoint: str) -> dict[str, Any]:
    from tunemv3d_core.provenance import versions
    from tunemv3d_core.spec import spec_id

    return {
        "checkpoint": checkpoint,
        "spec_id": spec_id(pipe.spec),
        "scheduler": type(pipe.scheduler).__name__,
        "versions": versions(),
        "data": pipe.data,
    }
