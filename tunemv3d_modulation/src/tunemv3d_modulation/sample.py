"""The command ``tunemv3d sample``: views of objects from text, as one picture each and as files."""

import os
import re
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tunemv3d_core.console import console, messages, print_json
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.strength import read_strength

if TYPE_CHECKING:
    from PIL.Image import Image

    from tunemv3d_modulation.pipeline import TuneMV3DOutput, TuneMV3DPipeline


def sample(
    checkpoint: Annotated[str, typer.Argument(help="Name of a packaged checkpoint, its folder, or a run's folder.")],
    prompts: Annotated[list[str], typer.Argument(help="What to make, one object a prompt.")],
    out: Annotated[Path, typer.Option(help="Folder that gets one folder a prompt.")] = Path("samples"),
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
    seed: Annotated[
        list[int] | None, typer.Option(help="Same seed, same noise; one for all prompts or one each; default: 0.")
    ] = None,
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
    device: Annotated[str, typer.Option(help="Such as cpu or cuda; default: cuda where there is one.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifests as JSON.")] = False,
) -> None:
    """Sample views of one object for each prompt, with the field's renders, opacity and depth."""
    _check_writable(out)
    # Heavy: torch, diffusers and transformers.
    from tunemv3d_core.cameras import Cameras
    from tunemv3d_core.devices import find_device
    from tunemv3d_modulation.pipeline import TuneMV3DPipeline, check_options

    # Before the model is loaded; None stands for the checkpoint's own, which its spec has checked.
    strength = read_strength(consistency) if consistency else None
    seeds = (seed or [0]) * (len(prompts) if len(seed or [0]) == 1 else 1)
    check_options(
        prompts,
        1 if steps is None else steps,
        guidance or 0.0,
        0.0 if strength is None else strength,
        seeds,
        [negative] * len(prompts),
    )
    cameras = None if views is None else Cameras.orbit(views, elevation=elevation)
    known = _read_images(image or [])
    pipe = TuneMV3DPipeline.from_pretrained(checkpoint, find_device(device))
    given: dict[str, Any] = {"num_inference_steps": steps, "guidance_scale": guidance, "consistency": strength}
    given |= {"scheduler": scheduler, "shared_noise": shared_noise, "negative_prompt": negative}
    options = _defaults(pipe) | {name: value for name, value in given.items() if value is not None}
    cameras = Cameras.orbit(pipe.spec.views.inputs, elevation=elevation) if cameras is None else cameras
    told = {**options, "views": len(cameras.origins), "elevation": elevation, "images": image or []}
    manifests = []
    for prompt, own_seed in zip(prompts, seeds, strict=True):
        began = time.perf_counter()
        output = _with_progress(pipe, prompt, cameras, {**options, "seed": own_seed, "known_views": known})
        about = {**_about(pipe, checkpoint), "prompt": prompt, "seed": own_seed, **told}
        about["seconds"] = round(time.perf_counter() - began, 2)
        manifests.append(save(output, out, about))
        if not as_json:
            console.print(f"{manifests[-1]['folder']}/grid.png", soft_wrap=True, highlight=False)
    if as_json:
        print_json(manifests)


def save(output: "TuneMV3DOutput", out: Path, about: dict[str, Any]) -> dict[str, Any]:
    """Write one object's grid, views, cameras and manifest to a new folder in ``out``; nothing there is overwritten.

    Args:
        output: of the pipeline for one prompt.
        out: a folder, made where it is not there.
        about: the manifest's content; its ``prompt`` names the folder.

    Returns:
        The manifest with the folder.

    Raises:
        TuneMV3DError: the folder cannot be written, such as on a full disk; nothing half-written stays.
    """
    from tunemv3d_core.posed_images import PosedImages, write_json, write_object
    from tunemv3d_modulation.pictures import grid

    folder = _free(out, about["prompt"])
    beside = folder.with_name(folder.name + ".part")
    pictures = output.pil()[0]
    files = tuple(f"views/{i:03d}.png" for i in range(len(pictures)))
    size = (pictures[0].height, pictures[0].width)
    try:
        (beside / "views").mkdir(parents=True)
        for file, picture in zip(files, pictures, strict=True):
            picture.save(beside / file)
        grid(output, 0).save(beside / "grid.png")
        write_object(beside, PosedImages(folder.name, files, output.cameras[0].to("cpu"), size, (about["prompt"],)))
        manifest = {**about, "folder": str(folder), "grid": "grid.png", "files": files, "cameras": "transforms.json"}
        write_json(beside / "manifest.json", manifest)
        os.replace(beside, folder)
    except OSError as error:
        raise TuneMV3DError(
            f"{folder}: the samples could not be written: {error}. Make room there, or choose another folder with --out"
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return manifest


def _defaults(pipe: "TuneMV3DPipeline") -> dict[str, Any]:
    """The checkpoint's own options."""
    own = pipe.spec.sample
    return {
        "num_inference_steps": own.steps,
        "guidance_scale": own.guidance,
        "consistency": own.consistency,
        "scheduler": own.scheduler,
        "shared_noise": own.shared_noise,
    }


def _with_progress(pipe: "TuneMV3DPipeline", prompt: str, cameras: Any, options: dict[str, Any]) -> "TuneMV3DOutput":
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=messages, transient=True) as progress:
        task = progress.add_task(prompt[:40].replace("[", "("), total=options["num_inference_steps"])
        return pipe(prompt, cameras, callback_on_step_end=lambda step: progress.advance(task), **options)


def _read_images(given: list[str]) -> "dict[int, Image]":
    """Pictures by view, from words such as ``front.png`` and ``4=back.png``.

    Raises:
        TuneMV3DError: not a picture, or two of one view.
    """
    from PIL import Image

    found: dict[int, Image.Image] = {}
    for words in given:
        view, equals, file = words.partition("=")
        view, file = (view, file) if equals and view.isdecimal() else ("0", words)
        if int(view) in found:
            raise TuneMV3DError(f"--image {words}: view {view} has a picture already; say which with VIEW=FILE")
        try:
            found[int(view)] = Image.open(file)
            found[int(view)].load()
        except OSError as error:
            raise TuneMV3DError(f"--image {words}: cannot be read as a picture: {error}") from None
    return found


def _about(pipe: "TuneMV3DPipeline", checkpoint: str) -> dict[str, Any]:
    from tunemv3d_core.provenance import versions
    from tunemv3d_core.spec import spec_id

    return {"checkpoint": checkpoint, "spec_id": spec_id(pipe.spec), "versions": versions()}


def _check_writable(out: Path) -> None:
    """Find out before the sampling whether its results can be kept; makes nothing yet."""
    place = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    if not place.is_dir():
        raise TuneMV3DError(f"--out {out}: {place} is a file; choose a folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise TuneMV3DError(f"--out {out}: {place} is not writable; choose another folder")


def _free(out: Path, prompt: str) -> Path:
    """A folder in ``out`` that is named after the prompt and not there yet."""
    slug = re.sub(r"[^\w]+", "-", prompt.lower()).strip("-")[:60] or "sample"
    names = [slug] + [f"{slug}-{i}" for i in range(2, 10_000)]
    return next(out / name for name in names if not (out / name).exists())
