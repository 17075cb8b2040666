"""Finished views as objects that can be measured."""

from collections.abc import Sequence

import torch
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.io.posed_images import PosedImages
from tunemv3d_core.sampling import fuse_clean
from tunemv3d_core.slots import MeasuredObject, Scene
from tunemv3d_core.types import Text
from tunemv3d_eval.metrics.silhouettes import silhouettes


@torch.no_grad()
def finished_objects(
    model: MultiviewDiffusion,
    latents: Tensor,
    text: Text,
    cameras: Cameras,
    prompts: Sequence[str],
    records: Sequence[PosedImages] | None = None,
) -> list[MeasuredObject]:
    """Decode clean latents ``b n c h w`` of b objects, seen by cameras ``b n``, and render the field fused from them.

    Args:
        model: whose autoencoder and field.
        latents: the views.
        text: b prompts, encoded.
        cameras: of the views.
        prompts: the b prompts.
        records: of b real objects.
    """
    images = model.backbone.decode_latents(latents).float()
    masks = silhouettes(images)
    opacity = renders = None
    if model.field is not None:
        size = latents.shape[-2], latents.shape[-1]
        rendering = fuse_clean(model, latents, text, cameras).render(cameras, size)
        opacity = rendering.opacity
        if model.field.ports.gives == "latents":
            renders = model.backbone.decode_latents(model.blend(rendering, size)).float()
    return [
        MeasuredObject(
            prompt,
            images[i],
            masks[i],
            latents[i],
            cameras[i],
            None if opacity is None else opacity[i],
            None if renders is None else renders[i],
            None if records is None else records[i],
        )
        for i, prompt in enumerate(prompts)
    ]


@torch.no_grad()
def fuse_object(sample: MeasuredObject, model: MultiviewDiffusion) -> Scene:
    """Fuse one object's views into its scene, a batch of one, as ``finished_objects`` does."""
    text = model.backbone.encode_text([sample.prompt])
    return fuse_clean(model, sample.latents[None], text, sample.cameras[None])
