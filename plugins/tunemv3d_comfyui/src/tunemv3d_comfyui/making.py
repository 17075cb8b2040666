"""One object of the nodes: its views sampled, its mesh made."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

from torch import Tensor

from tunemv3d_comfyui import host
from tunemv3d_comfyui.loading import load, rest
from tunemv3d_comfyui.recipe import ModelRecipe
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.run_spec import spec_id
from tunemv3d_core.errors import SampleError, TuneMV3DError
from tunemv3d_core.generation import SceneShape, build_mesher, check_prompts, finish, measured
from tunemv3d_core.io.generated import GeneratedBy
from tunemv3d_core.io.glb import glb
from tunemv3d_core.io.real_size import as_large_as, wanted_height
from tunemv3d_core.io.sample_files import FinishedObject, check_finite
from tunemv3d_core.io.samples import cut_prompts
from tunemv3d_core.sampling import SamplingStep, fuse_clean, sample
from tunemv3d_core.slots import HasSurface, Pictures
from tunemv3d_core.viz.pictures import cut_out

log = logging.getLogger("tunemv3d_comfyui")


@dataclass(frozen=True)
class Wish:
    """What to make, as the node Sample asks for it.

    Attributes:
        prompt: the object.
        negative: what guidance moves away from.
        seed: of the noise.
        steps: denoising steps.
        guidance: scale; at most 1 is none.
        consistency: K.
        views: cameras, evenly around the object.
        elevation: of them, degrees above the horizon.
    """

    prompt: str
    negative: str
    seed: int
    steps: int
    guidance: float
    consistency: float
    views: int
    elevation: float


@dataclass(frozen=True, eq=False)
class MadeObject:
    """An object that the nodes hand on.

    Attributes:
        recipe: of the model that made it.
        finished: its views, on the CPU.
        by: what made it, as its files tell it.
    """

    recipe: ModelRecipe
    finished: FinishedObject
    by: GeneratedBy


def make_object(recipe: ModelRecipe, wish: Wish) -> MadeObject:
    """Sample an object.

    Raises:
        TuneMV3DError: a wish that cannot be sampled, or a model that cannot be loaded.
        SampleError: a step gave numbers that are not finite.
    """
    check_prompts([wish.prompt], [wish.negative])
    if wish.negative and wish.guidance <= 1:
        raise TuneMV3DError("a negative prompt needs guidance: with a guidance of 1 or less nothing moves away from it")
    loaded = load(recipe)
    model, encode = loaded.model, loaded.model.backbone.encode_text
    options = loaded.spec.sample.merged(steps=wish.steps, guidance=wish.guidance, consistency=wish.consistency)
    h, w = loaded.latent_size
    cameras = Cameras.orbit(wish.views, elevation=wish.elevation, aspect=w / h).check()
    progress = host.Progress(wish.steps)

    def on_step(seen: SamplingStep) -> None:
        check_finite(seen.latents[0], f"after step {seen.index + 1} of {seen.steps}")
        progress.advance()

    try:
        latents = sample(
            model,
            encode([wish.prompt]),
            cameras[None].to(model.device),
            [wish.seed],
            options,
            negative=encode([wish.negative]) if options.guided else None,
            on_step=on_step,
        )
        finished = _on_cpu(finish(model, latents, wish.prompt, cameras))
    finally:
        rest(loaded)
    _tell(wish.prompt, measured(finished, cut_prompts(model.backbone, [wish.prompt]))["notes"])
    about = {"prompt": wish.prompt, "seed": wish.seed, "checkpoint": loaded.name, "spec_id": spec_id(loaded.spec)}
    return MadeObject(recipe, finished, GeneratedBy.of({**about, "data": loaded.data}))


def make_mesh(made: MadeObject, mesher: str) -> bytes:
    """Mesh an object: a GLB file, as high as things of its prompt are.

    Args:
        made: the object.
        mesher: its name in the registry.

    Raises:
        ComponentError: no such mesher.
        SampleError: the object's field has no surface, or no view shows anything.
    """
    build = build_mesher(mesher)
    loaded, finished, prompt = load(made.recipe), made.finished, made.by.prompt
    model = loaded.model
    if model.field is None or finished.opacity is None:
        raise SampleError(f"the checkpoint '{loaded.name}' has no field, so there is nothing to mesh: load another one")
    try:
        latents, cameras = finished.latents[None].to(model.device), finished.cameras[None].to(model.device)
        scene = fuse_clean(model, latents, model.backbone.encode_text([prompt]), cameras)
        if not isinstance(scene, HasSurface):
            raise SampleError(f"the field of '{loaded.name}' has no surface, so there is nothing to mesh: load another")
        views = _cut_out(finished, finished.opacity)
        shape = SceneShape(scene, model, (latents.shape[-2], latents.shape[-1]))
        mesh = as_large_as(build(shape, views, model.device), wanted_height(prompt))
    finally:
        rest(loaded)
    _tell(prompt, mesh.notes)
    return glb(mesh, made.by)


def _cut_out(finished: FinishedObject, opacity: Tensor) -> Pictures:
    rgba = cut_out(finished.images, opacity)
    if not bool((rgba[:, 3] > 0.5).any()):
        raise SampleError("no view shows an object, so there is nothing to mesh: take another seed")
    return Pictures(rgba[:, :3].contiguous(), rgba[:, 3].contiguous(), finished.cameras)


def _on_cpu(finished: FinishedObject) -> FinishedObject:
    """Move an object off the accelerator, where ComfyUI's other nodes need the room."""
    maps = {field.name: getattr(finished, field.name) for field in fields(finished)}
    moved: dict[str, Any] = {name: value.cpu() for name, value in maps.items() if isinstance(value, Tensor)}
    return replace(finished, **moved, cameras=finished.cameras.to("cpu"))


def _tell(prompt: str, notes: Iterable[str]) -> None:
    for note in notes:
        log.warning("%r: %s", prompt[:40], note)
