"""One object of ``tunemv3d sample``: sampled under a progress bar, written, its shape shown and meshed."""

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL.Image import Image

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.console import messages
from tunemv3d_core.errors import SampleError
from tunemv3d_core.generation import SceneShape, measured, sampling_progress
from tunemv3d_core.io.generated import GeneratedBy
from tunemv3d_core.io.glb import glb
from tunemv3d_core.io.json_files import read_json
from tunemv3d_core.io.real_size import as_large_as, wanted_height
from tunemv3d_core.io.sample_files import FinishedObject, write_sample
from tunemv3d_core.io.samples import MANIFEST, note_files, read_pictures, write_file
from tunemv3d_core.sampling import has_surface
from tunemv3d_core.slots import Mesher
from tunemv3d_core.viz.animation import write_animation
from tunemv3d_core.viz.pictures import read_picture
from tunemv3d_modulation.output import TuneMV3DOutput
from tunemv3d_modulation.pipeline import TuneMV3DPipeline
from tunemv3d_modulation.shape_pictures import Recorder, shape_steps, side_by_side, turntable
from tunemv3d_modulation.validate_inputs import check_known

OPTIONS = ("num_inference_steps", "guidance_scale", "consistency", "shared_noise", "negative_prompt")
"""Of the pipeline's call; the manifest tells them by the same names."""

MESH = "object.glb"


@dataclass(frozen=True)
class Order:
    """Things to make of every prompt.

    Attributes:
        cameras: ``n``.
        known_views: pictures by the index of their camera.
        out: folder that gets one folder per object.
        strip: also the shape appearing, as a picture and moving.
        video: suffix of a turntable, "" for none.
        mesh: whether a mesh will be made of it.
        shown: whether a bar shows the sampling.
    """

    cameras: Cameras
    known_views: Mapping[int, Image]
    out: Path
    strip: bool = False
    video: str = ""
    mesh: bool = False
    shown: bool = True

    def check(self, pipe: TuneMV3DPipeline) -> None:
        """Refuse, before anything is sampled, what the model cannot show and pictures that it cannot be given.

        Raises:
            TuneMV3DError: says why.
        """
        check_known(self.known_views, len(self.cameras.origins))
        for picture in self.known_views.values():
            read_picture(picture, pipe.image_size())
        field, asked = pipe.model.field, {"--strip": self.strip, "--video": self.video, "--mesh": self.mesh}
        options = ", ".join(option for option, given in asked.items() if given)
        if options and (field is None or not field.ports.novel_views):
            part = pipe.spec.model.field
            reason = "no field in this checkpoint" if part is None else f"the field '{part.type}' has no 3D, only views"
            raise SampleError(
                f"{reason}: there is no shape to show with {options}; leave it out, or take another checkpoint"
            )
        around = self.cameras[None].to(pipe.execution_device)
        if self.mesh and not has_surface(pipe.model, around, pipe.latent_size()):
            raise SampleError(
                "the field in this checkpoint has no surface, so there is nothing to mesh: leave out --mesh, or take "
                "another checkpoint"
            )
        if self.video and field is not None and field.ports.gives != "latents":
            raise SampleError("this checkpoint's field gives features, no pictures: there are no views for --video")


@dataclass(frozen=True)
class Made:
    """One object, sampled and written.

    Attributes:
        folder: where it lies.
        output: of the pipeline.
        steps: what the model saw.
        notes: sentences on it, those of ``about`` first.
    """

    folder: Path
    output: TuneMV3DOutput
    steps: Recorder
    notes: list[str]


def make(pipe: TuneMV3DPipeline, order: Order, about: dict[str, Any]) -> Made:
    """Sample one object and write it.

    Args:
        pipe: the pipeline.
        order: what to make.
        about: the manifest's content, with ``prompt``, ``seed``, ``notes`` and ``OPTIONS``.

    Raises:
        SampleError: a step gave numbers that are not finite, or the object cannot be written.
    """
    seen, began = Recorder(), time.perf_counter()
    progress = sampling_progress(about["prompt"], about["num_inference_steps"], order.shown)
    with progress as advance, warnings.catch_warnings():
        # The manifest's notes say it already.
        warnings.filterwarnings("ignore", message="the text encoder takes")

        def on_step(pipe: Any, index: int, t: float, tensors: dict[str, Any]) -> None:
            advance(tensors["latents"][0])
            seen(pipe, index, t, tensors)

        output = pipe(
            about["prompt"],
            order.cameras,
            generator=about["seed"],
            known_views=order.known_views,
            output_type="pt",
            callback_on_step_end=on_step,
            callback_on_step_end_tensor_inputs=("latents", "x_t"),
            **{name: about[name] for name in OPTIONS},
        )
    finished = _first(output, tuple(order.known_views))
    about = {**about, "seconds": round(time.perf_counter() - began, 2), **measured(finished, about["notes"])}
    return Made(write_sample(finished, order.out, about), output, seen, about["notes"])


def add_pictures(pipe: TuneMV3DPipeline, order: Order, made: Made, prompt: str) -> None:
    """Add the shape appearing and a turntable to a written object.

    Raises:
        SampleError: one of them cannot be written; the object stays as it is.
    """
    by = GeneratedBy.of(read_json(made.folder / MANIFEST))
    if order.strip:
        steps = shape_steps(pipe, prompt, made.output.cameras[0], made.steps.seen)
        write_animation(made.folder / "strip.png", [side_by_side(steps)], by)
        write_animation(made.folder / "strip.webp", steps, by, milliseconds=500)
        note_files(made.folder, {"strip": "strip.png", "strip_animation": "strip.webp"})
    if order.video:
        assert made.output.scene is not None
        write_animation(
            made.folder / f"turntable{order.video}", turntable(pipe, made.output.scene), by, milliseconds=80
        )
        note_files(made.folder, {"turntable": f"turntable{order.video}"})


def add_mesh(pipe: TuneMV3DPipeline, mesher: Mesher, made: Made) -> tuple[str, ...]:
    """Add ``object.glb`` to a written object, as ``tunemv3d mesh`` makes it of the object's folder; return its notes.

    Raises:
        SampleError: the scene has no surface after all, or the file cannot be written; the object stays as it is.
    """
    scene = made.output.scene
    assert scene is not None
    shape = SceneShape(scene, pipe.model, pipe.latent_size())
    with messages.status("mesh", spinner="line"):
        mesh = mesher(shape, read_pictures(made.folder), pipe.execution_device)
    manifest = read_json(made.folder / MANIFEST)
    mesh = as_large_as(mesh, wanted_height(manifest["prompt"]))
    write_file(made.folder / MESH, glb(mesh, GeneratedBy.of(manifest)))
    note_files(made.folder, {"mesh": MESH}, mesh.figures, mesh.notes)
    return mesh.notes


def _first(output: TuneMV3DOutput, given: tuple[int, ...]) -> FinishedObject:
    """The only object of a batch of one."""
    maps = {name: getattr(output, name) for name in ("renders", "opacity", "depth", "normals")}
    maps = {name: None if maps[name] is None else maps[name][0] for name in maps}
    return FinishedObject(output.images[0], output.latents[0], output.cameras[0], **maps, given=given)
