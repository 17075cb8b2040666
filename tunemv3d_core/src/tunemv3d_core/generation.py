"""Objects from a loaded checkpoint and prompts: sampled, shown, written, and as shapes that can be meshed."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor
from torch.nn.functional import interpolate

from tunemv3d_core.additions import Additions
from tunemv3d_core.agreement import disagreement, silhouettes_iou
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.run_spec import RunSpec, SampleSpec, spec_id
from tunemv3d_core.console import messages
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import ComponentError, SampleError, TuneMV3DError
from tunemv3d_core.foreign_text import is_whole
from tunemv3d_core.io.checkpoint import find_checkpoint, load_checkpoint
from tunemv3d_core.io.file_names import without_paths
from tunemv3d_core.io.json_files import read_json
from tunemv3d_core.io.provenance import versions
from tunemv3d_core.io.sample_files import FinishedObject, check_finite, write_sample
from tunemv3d_core.io.samples import cut_prompts
from tunemv3d_core.latents import decode_pictures
from tunemv3d_core.placement import Placement
from tunemv3d_core.plugins.registry import registry
from tunemv3d_core.rendering.volume import MIN_OPACITY
from tunemv3d_core.sampling import (
    fuse_clean,
    has_surface,
    latent_size,
    prepared_scheduler,
    sample,
)
from tunemv3d_core.slots import HasSurface, Mesher, Pictures, Scene
from tunemv3d_core.types import Text
from tunemv3d_core.viz.geometry import render_shape
from tunemv3d_core.viz.pictures import cut_out

ELEVATION = 20.0
"""Degrees above the horizon at which cameras stand around an object unless somebody says where."""


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A checkpoint in memory.

    Attributes:
        name: as it was asked for; manifests tell it.
        spec: its spec.
        model: its model.
        data: what its provenance says of the training data.
        saved_id: the id of its spec as it was saved; today's options may give it another.
    """

    name: str
    spec: RunSpec
    model: MultiviewDiffusion
    data: dict[str, Any]
    saved_id: str = ""

    @classmethod
    def load(cls, name: str, place: Placement, added: Additions | None = None) -> "LoadedCheckpoint":
        """Load a checkpoint to where it computes.

        Args:
            name: of the checkpoint.
            place: where.
            added: another base, and what comes on top of it.

        Raises:
            CheckpointError: no checkpoint there, or it cannot be read with what is installed.
            TuneMV3DError: the device cannot compute with the dtype, or something that is added does not fit.
        """
        added = added or Additions()
        spec, model = load_checkpoint(
            name, place.loads_on, place.torch_dtype, base=added.base or None, options=added.options
        )
        added.apply(model)
        place.apply(model)
        record = read_json(find_checkpoint(name) / "provenance.json")
        return cls(name, spec, model, record.get("data") or {}, str(record.get("spec_id", "")))

    @property
    def latent_size(self) -> tuple[int, int]:
        """(h, w) of the latents of its views."""
        return latent_size(self.model.backbone.ports, self.spec.sample.size)

    def orbit(self) -> Cameras:
        """Place as many cameras around the object as training had input views, shape ``(n,)``."""
        h, w = self.latent_size
        return Cameras.orbit(self.spec.views.inputs, elevation=ELEVATION, aspect=w / h)

    def check_surface(self) -> None:
        """Refuse a checkpoint whose objects cannot be meshed, before any is sampled.

        Raises:
            SampleError: its field has no surface.
        """
        cameras = self.orbit()[None].to(self.model.device)
        if self.model.field is None or not has_surface(self.model, cameras, self.latent_size):
            raise SampleError(f"the field of '{self.name}' has no surface, so there is nothing to mesh")


@dataclass(frozen=True)
class SceneShape:
    """The shape of a field's scene.

    Attributes:
        scene: with a surface, a batch of one.
        model: whose field made the scene.
        size: (h, w) of the latents.
    """

    scene: Scene
    model: MultiviewDiffusion
    size: tuple[int, int]

    def signed_distance(self, points: Tensor) -> Tensor:
        """``1 p 3`` to ``1 p``."""
        assert isinstance(self.scene, HasSurface)
        return self.scene.signed_distance(points)

    @torch.no_grad()
    def pictures(self, cameras: Cameras) -> Pictures | None:
        """Decode the field's renders of cameras ``m``; None where it gives features."""
        if self.model.field is None or self.model.field.ports.gives != "latents":
            return None
        rendering = self.scene.render(cameras[None].to(self.model.device), self.size)
        images = decode_pictures(self.model.backbone, self.model.blend(rendering, self.size))[0]
        opacity = interpolate(rendering.opacity[0][:, None].float(), images.shape[-2:], mode="bilinear")
        # They are on white; what is asked for is not.
        colours = ((images - 1 + opacity) / opacity.clamp(min=MIN_OPACITY)).clamp(0, 1)
        return Pictures(colours.cpu(), opacity[:, 0].cpu(), cameras.to("cpu"))


@dataclass(frozen=True)
class SceneViews:
    """A scene of finished views, and how the views' own cameras see it.

    Attributes:
        scene: of b objects.
        renders: ``b n c h w``, its renders as latents on white; None where the field gives features.
        opacity: ``b n H W``, 0 to 1.
        depth: ``b n H W``, z in the camera, world units, 0 where nothing was hit; None where the field renders only the
            views that it saw: it knows no geometry.
        normals: ``b n 3 H W``, outward, world space; None where the field knows none.
    """

    scene: Scene
    renders: Tensor | None
    opacity: Tensor
    depth: Tensor | None
    normals: Tensor | None


@torch.no_grad()
def view_scene(model: MultiviewDiffusion, latents: Tensor, text: Text, cameras: Cameras) -> SceneViews:
    """Fuse finished views and render them: appearance of the latents' size, geometry of the pictures'.

    Args:
        model: with a field.
        latents: ``b n c h w``, clean.
        text: b prompts.
        cameras: ``b n``.
    """
    assert model.field is not None
    ports, stride = model.field.ports, model.backbone.ports.image_stride
    scene = fuse_clean(model, latents, text, cameras)
    h, w = latents.shape[-2:]
    coarse = scene.render(cameras, (h, w))
    seen = render_shape(scene, cameras, (h * stride, w * stride), coarse.opacity)
    renders = model.blend(coarse, (h, w)) if ports.gives == "latents" else None
    return SceneViews(scene, renders, seen.opacity, seen.depth if ports.novel_views else None, seen.normals)


@torch.no_grad()
def finish(model: MultiviewDiffusion, latents: Tensor, prompt: str, cameras: Cameras) -> FinishedObject:
    """Decode one object's views and show its shape.

    Args:
        model: that sampled them.
        latents: ``1 n c h w``, clean.
        prompt: of the object.
        cameras: ``n``.
    """
    images = decode_pictures(model.backbone, latents)[0]
    if model.field is None:
        return FinishedObject(images, latents[0], cameras)
    text, placed = model.backbone.encode_text([prompt]), cameras[None].to(latents.device)
    seen = view_scene(model, latents, text, placed)
    renders = None if seen.renders is None else decode_pictures(model.backbone, seen.renders)[0]
    opacity, depth, normals = (None if z is None else z[0] for z in (seen.opacity, seen.depth, seen.normals))
    return FinishedObject(images, latents[0], cameras, renders, opacity, depth, normals)


def generate(checkpoint: LoadedCheckpoint, prompt: str, out: Path) -> Path:
    """Sample an object with the checkpoint's own options and seed 0, and write it as ``tunemv3d sample`` does.

    Args:
        checkpoint: what samples it.
        prompt: what to make.
        out: the folder that gets the object's folder.

    Returns:
        The object's folder.

    Raises:
        SampleError: a step gave numbers that are not finite, or the folder cannot be written.
    """
    model, own = checkpoint.model, checkpoint.spec.sample
    cameras, encode = checkpoint.orbit(), model.backbone.encode_text
    notes = cut_prompts(model.backbone, [prompt])
    for note in notes:
        messages.print(f"{prompt[:40]!r}: {note}", style="yellow", soft_wrap=True)
    scheduler = prepared_scheduler(model.backbone, own.scheduler, own.steps)
    began = time.perf_counter()
    with sampling_progress(prompt, own.steps) as advance:
        latents = sample(
            model,
            encode([prompt]),
            cameras[None].to(model.device),
            [0],
            own,
            scheduler=scheduler,
            negative=encode([""]) if own.guided else None,
            on_step=lambda step: advance(step.latents[0]),
        )
        finished = finish(model, latents, prompt, cameras)
    about = manifest_model(checkpoint.name, checkpoint.spec, model, scheduler, checkpoint.data)
    about |= manifest_options(own)
    about |= {"views": len(cameras.origins), "elevation": ELEVATION, "notes": notes, "prompt": prompt, "seed": 0}
    about |= measured(finished, notes)
    return write_sample(finished, out, {**about, "seconds": round(time.perf_counter() - began, 2)})


def measured(finished: FinishedObject, notes: Sequence[str]) -> dict[str, Any]:
    """Return the manifest's entries on how well an object's views and its field's opacity agree.

    Args:
        finished: the object.
        notes: sentences so far; one is added where they hardly agree.
    """
    if finished.opacity is None or finished.depth is None:
        return {"notes": list(notes)}
    iou = silhouettes_iou(cut_out(finished.images, finished.opacity)[:, 3], finished.opacity)
    return {"opacity_iou": round(iou, 4), "notes": [*notes, *filter(None, [disagreement(iou)])]}


def manifest_options(options: SampleSpec, negative: str = "") -> dict[str, Any]:
    """Return the manifest's entries on the sampling, in the words of the pipeline's call."""
    return {
        "num_inference_steps": options.steps,
        "guidance_scale": options.guidance,
        "consistency": options.consistency,
        "shared_noise": options.shared_noise,
        "negative_prompt": negative,
    }


def manifest_model(
    checkpoint: str, spec: RunSpec, model: MultiviewDiffusion, scheduler: Any, data: dict[str, Any] | None
) -> dict[str, Any]:
    """Return the manifest's entries on the model.

    Args:
        checkpoint: its name.
        spec: of the checkpoint.
        model: as it samples.
        scheduler: with diffusers' interface.
        data: what the checkpoint's provenance says of the training data.
    """
    return {
        "checkpoint": checkpoint,
        "spec_id": spec_id(spec),
        "scheduler": type(scheduler).__name__,
        "dtype": str(model.dtype).removeprefix("torch."),
        "versions": versions(),
        "data": without_paths(data),
    }


@contextmanager
def sampling_progress(prompt: str, steps: int, shown: bool = True) -> Iterator[Callable[[Tensor], None]]:
    """Show a progress bar; what it gives is called after each step with the object's latents ``n c h w``.

    Args:
        prompt: of the object.
        steps: of its sampling.
        shown: whether there is a bar; one process of several shows its own.

    Raises:
        SampleError: from that call, where the latents are not finite.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=messages, transient=True, disable=not shown) as progress:
        task = progress.add_task(prompt[:40].replace("[", "("), total=steps)

        def advance(latents: Tensor) -> None:
            check_finite(latents, f"after step {int(progress.tasks[task].completed) + 1} of {steps}")
            progress.advance(task)

        yield advance


def check_prompts(prompts: Sequence[str], negatives: Sequence[str] = ()) -> None:
    """Refuse prompts, and negative ones, that cannot be sampled.

    Raises:
        TuneMV3DError: there is no prompt, one is empty, or one of either kind is no text.
    """
    if not prompts or not all(prompt.strip() for prompt in prompts):
        raise TuneMV3DError("a prompt is empty: say what object to make, such as 'a red office chair'")
    if broken := [prompt for prompt in (*prompts, *negatives) if not is_whole(prompt)]:
        raise TuneMV3DError(f"the prompt {ascii(broken[0])[:80]} holds bytes that are no text in UTF-8")


def build_mesher(name: str) -> Mesher:
    """Build an installed mesher with its default options.

    Raises:
        ComponentError: none is installed, there is none of this name, or it cannot be imported.
    """
    installed = registry()
    if not installed.names("mesher"):
        raise ComponentError("no mesher is installed, which a mesh needs: pip install tunemv3d-shape")
    component = installed.get("mesher", name)
    mesher: Mesher = component.load_build()(component.plugin.spec(type=component.plugin.name))
    return mesher
