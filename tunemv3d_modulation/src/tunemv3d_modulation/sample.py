"""The command ``tunemv3d sample``: views of objects from text, with depth, normals and the shape's scene."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunemv3d_core.cli.ending import OpenOption, say_next, show_result
from tunemv3d_core.cli.model_options import (
    BaseOption,
    DeviceOption,
    DtypeOption,
    EmbeddingOption,
    HubCheckpointArgument,
    LoraOption,
    OffloadOption,
    read_placement,
)
from tunemv3d_core.consistency import parse_consistency
from tunemv3d_core.console import console, messages, print_json, show_error
from tunemv3d_core.errors import EXIT_BAD_INPUT, EXIT_FINDINGS, TuneMV3DError
from tunemv3d_core.io.file_names import without_paths
from tunemv3d_core.io.json_files import read_json
from tunemv3d_core.io.samples import MANIFEST
from tunemv3d_modulation.cli_options import gather_prompts, place_given, read_cameras, read_given, read_seeds

if TYPE_CHECKING:
    from PIL.Image import Image

    from tunemv3d_core.additions import Additions
    from tunemv3d_core.config.run_spec import SampleSpec
    from tunemv3d_core.placement import Placement
    from tunemv3d_core.ranks import Ranks
    from tunemv3d_core.slots import Mesher
    from tunemv3d_modulation.generate import Order
    from tunemv3d_modulation.pipeline import TuneMV3DPipeline


_PromptsArgument = Annotated[list[str] | None, typer.Argument(help="What to make, one object per prompt.")]
_OutOption = Annotated[Path, typer.Option(help="Folder that gets one folder per object.")]
_PromptsFileOption = Annotated[Path | None, typer.Option("--prompts", help="A file of prompts, one per line.")]
_SeedsOption = Annotated[
    str,
    typer.Option("--seeds", "--seed", help="Such as 7, 0,3,5 or 0-3: every prompt with each; same seed, same noise."),
]
_StepsOption = Annotated[int | None, typer.Option(help="Denoising steps; default: the checkpoint's.")]
_GuidanceOption = Annotated[
    float | None, typer.Option(help="Guidance scale; at most 1 is none; default: the checkpoint's.")
]
_ConsistencyOption = Annotated[
    str,
    typer.Option(
        help="K: 0 is the plain 2D model, 1 the tuned one, more extrapolates; 2:1 falls from 2 to 1 over the "
        "steps; default: the checkpoint's."
    ),
]
_SchedulerOption = Annotated[str | None, typer.Option(help="Scheduler, such as ddim or dpm++.")]
_NegativeOption = Annotated[str, typer.Option(help="What guidance moves away from.")]
_SharedNoiseOption = Annotated[
    bool | None, typer.Option(help="Start all views from the same noise; default: the checkpoint's.")
]
_ImageOption = Annotated[
    list[str] | None,
    typer.Option(metavar="[VIEW=]FILE", help="A picture of the object that is given, of view 0 or of VIEW."),
]
_CutOutOption = Annotated[
    str,
    typer.Option(
        metavar="MODEL",
        help="What removes the background of given pictures: a model of rembg, such as u2net, or a U2-Net's ONNX "
        "file. Transparency and grounds of one colour need none.",
    ),
]
_AsIsOption = Annotated[
    bool, typer.Option("--as-is", help="Take given pictures as they are: nothing is cut out, moved or scaled.")
]
_ViewsOption = Annotated[
    int | None, typer.Option(help="Cameras, evenly around the object; default: as many as in training.")
]
_ElevationOption = Annotated[float, typer.Option(help="Degrees above the horizon.")]
_CamerasOption = Annotated[Path | None, typer.Option(help="A transforms.json whose cameras to take instead.")]
_StripOption = Annotated[bool, typer.Option("--strip", help="Also the shape appearing: strip.png and strip.webp.")]
_VideoOption = Annotated[bool, typer.Option("--video", help="Also a turntable of the field's own novel views.")]
_VideoFormatOption = Annotated[str, typer.Option(help="webp, or mp4, which needs ffmpeg.")]
_MeshOption = Annotated[bool, typer.Option("--mesh", help="Also a textured mesh, object.glb.")]
_MesherOption = Annotated[
    str,
    typer.Option(help="What makes the mesh, as `tunemv3d plugins list` names it: --mesh with another than ours."),
]
_SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="MODEL.A.B=VALUE",
        help="Another option of a component of the model, such as model.field.samples=48. Repeatable.",
    ),
]
_AsJsonOption = Annotated[bool, typer.Option("--json", help="Print the manifests as JSON.")]


def sample(
    checkpoint: HubCheckpointArgument,
    prompts: _PromptsArgument = None,
    out: _OutOption = Path("samples"),
    prompts_file: _PromptsFileOption = None,
    seeds: _SeedsOption = "0",
    steps: _StepsOption = None,
    guidance: _GuidanceOption = None,
    consistency: _ConsistencyOption = "",
    scheduler: _SchedulerOption = None,
    negative: _NegativeOption = "",
    shared_noise: _SharedNoiseOption = None,
    image: _ImageOption = None,
    cut_out: _CutOutOption = "",
    as_is: _AsIsOption = False,
    views: _ViewsOption = None,
    elevation: _ElevationOption = 20.0,
    cameras: _CamerasOption = None,
    strip: _StripOption = False,
    video: _VideoOption = False,
    video_format: _VideoFormatOption = "webp",
    mesh: _MeshOption = False,
    mesher: _MesherOption = "",
    device: DeviceOption = "",
    dtype: DtypeOption = "auto",
    offload: OffloadOption = "none",
    base: BaseOption = "",
    lora: LoraOption = None,
    embedding: EmbeddingOption = None,
    set_: _SetOption = None,
    show: OpenOption = False,
    as_json: _AsJsonOption = False,
) -> None:
    """Sample views of one object for each prompt, with the field's renders, opacity, depth and normals."""
    from tunemv3d_core.additions import Additions
    from tunemv3d_core.config.run_spec import SampleSpec
    from tunemv3d_core.generation import build_mesher
    from tunemv3d_core.io.sample_files import check_writable
    from tunemv3d_core.ranks import Ranks
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
    ranks = Ranks.launched()
    request = _Request(
        checkpoint=checkpoint,
        pairs=pairs,
        repeats=len(pairs) < len(wanted),
        given=given,
        negative=negative,
        cameras=(cameras, views, elevation),
        images=image or [],
        known=known,
        as_is=as_is,
        notes=notes,
        out=out,
        strip=strip,
        video=f".{video_format}" if video else "",
        mesh=mesh or bool(mesher),
        mesher=meshed_by,
        place=replace(place, device=ranks.device(place.device)),
        added=Additions.of(base, lora, embedding, set_),
        ranks=ranks,
    )
    _sample(request, show, as_json)


@dataclass(frozen=True)
class _Request:
    """What a command asks for, read and checked as far as that goes without the model.

    Attributes:
        checkpoint: its name.
        pairs: prompts with their seeds, each once.
        repeats: whether some were given more often.
        given: options of the sampling in place of the checkpoint's; None where there are none.
        negative: prompt that guidance moves away from.
        cameras: as ``read_cameras`` takes them: file, views, elevation.
        images: the arguments of ``--image``.
        known: their pictures by view, cut out unless ``as_is``.
        as_is: whether pictures stay as they are.
        notes: sentences on the pictures.
        out: folder that gets one folder per object.
        strip, video, mesh: as of ``Order``.
        mesher: what makes the mesh.
        place: where the model computes.
        added: on top of the checkpoint.
        ranks: the processes that share the objects.
    """

    checkpoint: str
    pairs: list[tuple[str, int]]
    repeats: bool
    given: dict[str, Any]
    negative: str
    cameras: tuple[Path | None, int | None, float]
    images: list[str]
    known: "dict[int, Image]"
    as_is: bool
    notes: list[str]
    out: Path
    strip: bool
    video: str
    mesh: bool
    mesher: "Mesher | None"
    place: "Placement"
    added: "Additions"
    ranks: "Ranks"

    def own_pairs(self) -> list[tuple[str, int]]:
        """Return those that this process makes. Those of one folder's name are one's, who numbers them in order."""
        from tunemv3d_core.io.sample_files import folder_name

        names = [folder_name(*pair) for pair in self.pairs]
        own = set(self.ranks.share(list(dict.fromkeys(names))))
        return [pair for pair, name in zip(self.pairs, names, strict=True) if name in own]


def _sample(request: _Request, show: bool, as_json: bool) -> None:
    """Load the model, make every object, and print what was made."""
    from tunemv3d_core.generation import manifest_model, manifest_options

    pipe, options = _load(request.checkpoint, request.place, request.given, request.added)
    _check(options, request.pairs, request.negative)
    h, w = pipe.latent_size()
    around = read_cameras(*request.cameras, pipe.spec.views.inputs, aspect=w / h)
    # Heavy, and needs what was loaded.
    from tunemv3d_modulation.generate import Order

    known, framing = place_given(request.known, pipe.image_size(), request.as_is)
    order = Order(around, known, request.out, request.strip, request.video, request.mesh, request.ranks.rank == 0)
    order.check(pipe)
    about = manifest_model(request.checkpoint, pipe.spec, pipe.model, pipe.scheduler, pipe.data)
    about |= manifest_options(options, request.negative) | without_paths(request.added.as_json())
    about |= {"images": [_without_folder(words) for words in request.images]}
    about |= {"views": len(around.origins), "elevation": request.cameras[2], "notes": request.notes + framing}
    if request.repeats and not request.ranks.rank:
        messages.print("the same prompt with the same seed is the same object: it is made once", style="yellow")
    own, failures = _make_all(pipe, order, request.own_pairs(), about, request.mesher, as_json)
    made, failed = request.ranks.joined(own), request.ranks.total(failures)
    if not request.ranks.rank:
        _show(request, made, show, as_json)
    if failed:
        raise typer.Exit(EXIT_FINDINGS if made else EXIT_BAD_INPUT)


def _show(request: _Request, made: list[Path], show: bool, as_json: bool) -> None:
    """Print what all processes made, in the order of the prompts and seeds."""
    manifests = {folder: read_json(folder / MANIFEST) for folder in made}
    made = sorted(
        made, key=lambda folder: request.pairs.index((manifests[folder]["prompt"], manifests[folder]["seed"]))
    )
    if as_json:
        print_json([{**manifests[folder], "folder": str(folder)} for folder in made])
    if show and made:
        show_result(made[0] / "grid.png")
    if made and not as_json:
        say_next("tunemv3d", "report", request.out, "--open")


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


def _without_folder(words: str) -> str:
    """Return a word of ``--image`` with the file's name alone: "4=back.png"."""
    view, equals, file = words.rpartition("=")
    return f"{view}{equals}{Path(file).name}"


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

    pipe = TuneMV3DPipeline.from_pretrained(
        checkpoint, place.torch_dtype, base=added.base or None, options=added.options
    )
    added.apply(pipe.model)
    place.apply(pipe.model)
    pipe.set_progress_bar_config(disable=True)
    options = pipe.spec.sample.merged(**given)
    if given["scheduler"] is not None:
        pipe.scheduler = pipe.model.backbone.scheduler(options.scheduler)
    prepared_scheduler(pipe.model.backbone, pipe.scheduler, options.steps)
    return pipe, options
