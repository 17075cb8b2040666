"""Sampling a tuned model: text in, views and their shape out."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.checkpoint import load_checkpoint
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.sampling import KnownViews, SamplingStep, fuse_clean, latent_size, sample
from tunemv3d_core.slots import Scene
from tunemv3d_core.spec import RunSpec
from tunemv3d_core.strength import check_strength
from tunemv3d_modulation.pictures import read_picture, to_pil

DEFAULT_ELEVATION = 20.0


@dataclass(frozen=True)
class TuneMV3DOutput:
    """What was sampled. Without a field (plain 2D fine-tuning) there are only images and latents.

    Attributes:
        images: ``b n H W 3``, sRGB in [0, 1].
        latents: ``b n c h w``, clean.
        cameras: ``b n``.
        scene: what the field makes of the finished views: render it from any camera, or take its surface.
        renders: ``b n H W 3``: the scene at the same cameras, decoded. None too where the field gives features.
        opacity: ``b n h w``, 0 to 1.
        depth: ``b n h w``, z in the camera, world units, 0 where nothing was hit.
        normals: ``b n 3 h w``, outward, world space.
    """

    images: Tensor
    latents: Tensor
    cameras: Cameras
    scene: Scene | None = None
    renders: Tensor | None = None
    opacity: Tensor | None = None
    depth: Tensor | None = None
    normals: Tensor | None = None

    def pil(self) -> list[list[Image.Image]]:
        """The images as pictures, per object and view."""
        return [[to_pil(view) for view in views] for views in self.images]


class TuneMV3DPipeline:
    """Samples a model; options that are not given come from the spec's ``sample`` block.

    Args:
        model: an assembled model.
        spec: the spec that made it.
    """

    def __init__(self, model: MultiviewDiffusion, spec: RunSpec) -> None:
        self.model = model.eval()
        self.spec = spec

    @classmethod
    def from_pretrained(
        cls, checkpoint: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
    ) -> "TuneMV3DPipeline":
        """Load a checkpoint: the name of a packaged one, its folder, or a run's folder.

        Raises:
            CheckpointError: no checkpoint there, or it cannot be read with what is installed.
        """
        spec, model = load_checkpoint(checkpoint, device, dtype)
        return cls(model, spec)

    @torch.no_grad()
    def __call__(
        self,
        prompts: str | Sequence[str],
        cameras: Cameras | None = None,
        *,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        consistency: float | Sequence[float] | None = None,
        scheduler: str | None = None,
        negative_prompt: str | Sequence[str] = "",
        seed: int | Sequence[int] = 0,
        shared_noise: bool | None = None,
        known_views: Mapping[int, Image.Image | Tensor] | None = None,
        callback_on_step_end: Callable[[SamplingStep], None] | None = None,
    ) -> TuneMV3DOutput:
        """Sample one object a prompt.

        Args:
            prompts: one or b of them.
            cameras: ``n``, the same for every object, or ``b n``; default: as many as in training around the object,
                20 degrees up.
            num_inference_steps: denoising steps, at least 1.
            guidance_scale: of classifier-free guidance; 1 is none and takes half the time.
            consistency: K, at least 0: 0 gives the plain 2D model, 1 the tuned one, more extrapolates. Several numbers
                are a schedule over the steps.
            scheduler: a solver that the backbone knows, such as "ddim" or "dpm++"; "" takes the 2D model's own.
            negative_prompt: what guidance moves away from: one for all objects or one each.
            seed: one for all objects or one each; an object's noise depends on its seed alone.
            shared_noise: start all views of an object from the same noise.
            known_views: pictures by the index of their camera: these views are given, the others are made to fit them
                (image to 3D). RGBA is put on white; tensors are ``3 H W`` in [0, 1]. They come out as they went in.
            callback_on_step_end: gets a ``SamplingStep`` after every step.

        Raises:
            TuneMV3DError: an empty prompt, an option out of its range, or a known view without a camera.
        """
        prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        defaults = self.spec.sample
        steps = defaults.steps if num_inference_steps is None else num_inference_steps
        guidance = defaults.guidance if guidance_scale is None else guidance_scale
        strength = defaults.consistency if consistency is None else consistency
        seeds = [int(s) for s in (seed if isinstance(seed, Sequence) else [seed] * len(prompts))]
        negatives = [negative_prompt] * len(prompts) if isinstance(negative_prompt, str) else list(negative_prompt)
        check_options(prompts, steps, guidance, strength, seeds, negatives)
        cameras = self._cameras(cameras, len(prompts))
        known = self._known(known_views or {}, cameras)
        backbone = self.model.backbone
        text = backbone.encode_text(prompts)
        latents = sample(
            self.model,
            text,
            cameras,
            seeds,
            steps=steps,
            size=self._latent_size(),
            scheduler=defaults.scheduler if scheduler is None else scheduler,
            guidance=guidance,
            negative=None if guidance == 1 else backbone.encode_text(negatives),
            consistency=strength,
            shared_noise=defaults.shared_noise if shared_noise is None else shared_noise,
            known=known,
            on_step=callback_on_step_end,
        )
        images = self._decode(latents)
        for index, picture in (known_views or {}).items():
            images[:, index] = self._picture(picture).movedim(0, -1).to(images)
        if self.model.field is None:
            return TuneMV3DOutput(images, latents, cameras)
        return TuneMV3DOutput(images, latents, cameras, **self._shape(latents, prompts, cameras))

    def _picture(self, picture: Image.Image | Tensor) -> Tensor:
        """``3 H W`` in [0, 1] at the model's size."""
        stride = self.model.backbone.ports.image_stride
        h, w = self._latent_size()
        return read_picture(picture, (h * stride, w * stride))

    def _latent_size(self) -> tuple[int, int]:
        """(h, w) of the views' latents: what the spec says, or what the 2D model was made for."""
        return latent_size(self.model.backbone.ports, self.spec.sample.size)

    def _known(self, pictures: Mapping[int, Image.Image | Tensor], cameras: Cameras) -> KnownViews | None:
        """The given pictures as latents, the same for every object."""
        if not pictures:
            return None
        b, n = cameras.shape
        if strays := [index for index in pictures if not 0 <= index < n]:
            raise TuneMV3DError(f"known view {strays[0]} has no camera: there are {n}, counted from 0")
        if len(pictures) == n:
            raise TuneMV3DError(f"all {n} views are known: leave one to be made, or add cameras")
        weight = next(self.model.parameters())
        given = torch.stack([self._picture(picture) for picture in pictures.values()])
        encoded = self.model.backbone.encode_images(given[None].to(weight) * 2 - 1)
        latents = encoded.new_zeros(b, n, *encoded.shape[2:])
        latents[:, list(pictures)] = encoded
        views = torch.zeros(b, n, dtype=torch.bool, device=weight.device)
        views[:, list(pictures)] = True
        return KnownViews(latents, views)

    @torch.no_grad()
    def fuse_clean(self, latents: Tensor, prompts: Sequence[str], cameras: Cameras) -> Scene:
        """The scene of finished views ``b n c h w``, of all or of some of an object's cameras ``b n``."""
        return fuse_clean(self.model, latents, self.model.backbone.encode_text(list(prompts)), cameras)

    def _shape(self, latents: Tensor, prompts: Sequence[str], cameras: Cameras) -> dict[str, Any]:
        scene = self.fuse_clean(latents, prompts, cameras)
        size = (latents.shape[-2], latents.shape[-1])
        rendering = scene.render(cameras, size, normals=True)
        field = self.model.field
        shown = field is not None and field.ports.gives == "latents"
        return {
            "scene": scene,
            "renders": self._decode(self.model.blend(rendering, size)) if shown else None,
            "opacity": rendering.opacity,
            "depth": rendering.depth,
            "normals": rendering.normals,
        }

    def _decode(self, latents: Tensor) -> Tensor:
        images = self.model.backbone.decode_latents(latents).float()
        return (images / 2 + 0.5).clamp(0, 1).movedim(2, -1)

    def _cameras(self, cameras: Cameras | None, objects: int) -> Cameras:
        if cameras is None:
            cameras = Cameras.orbit(self.spec.views.inputs, elevation=DEFAULT_ELEVATION)
        if len(cameras.shape) == 1:
            cameras = cameras[None].expand(objects, cameras.shape[0])
        if cameras.shape[0] != objects:
            raise TuneMV3DError(
                f"cameras of {cameras.shape[0]} objects for {objects} prompts: give 'n' or 'b n' of them"
            )
        weight = next(self.model.parameters())
        return cameras.check().to(weight.device)


def check_options(
    prompts: Sequence[str],
    steps: int,
    guidance: float,
    consistency: float | Sequence[float],
    seeds: Sequence[int],
    negatives: Sequence[str],
) -> None:
    """Refuse what cannot be sampled.

    Raises:
        TuneMV3DError: says which option and its range.
    """
    if not prompts or not all(prompt.strip() for prompt in prompts):
        raise TuneMV3DError("a prompt is empty: say what object to make, such as 'a red office chair'")
    if steps < 1:
        raise TuneMV3DError(f"steps must be at least 1, not {steps}")
    if not 0 <= guidance < math.inf:
        raise TuneMV3DError(f"guidance must be at least 0, not {guidance}: 1 is none, 3 to 7 is usual")
    check_strength(consistency)
    if guidance == 1 and any(negatives):
        raise TuneMV3DError("a negative prompt needs guidance: with a guidance scale of 1 nothing moves away from it")
    if strays := [seed for seed in seeds if not 0 <= seed < 2**32]:
        raise TuneMV3DError(f"a seed should be from 0 to {2**32 - 1}, not {strays[0]}")
    for what, given in (("seeds", seeds), ("negative prompts", negatives)):
        if len(given) != len(prompts):
            raise TuneMV3DError(f"{len(given)} {what} for {len(prompts)} prompts: give one for all or one each")
