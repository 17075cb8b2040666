"""The pictures that a CLIP is shown of an object: its views, the bare shape, a held-out camera, the mesh."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import SampleError
from tunemv3d_core.generation import SceneShape
from tunemv3d_core.slots import HasSurface, MeasuredObject, Mesher, Pictures
from tunemv3d_core.viz.geometry import render_shape
from tunemv3d_core.viz.pictures import near_bright, shaded
from tunemv3d_eval.scoring.measure import fuse_object

GREY = 0.75
"""The lightest grey of a bare shape, so that it stands out from the white ground."""


def bare_views(sample: MeasuredObject, model: MultiviewDiffusion, cameras: Cameras) -> Tensor:
    """Render the field's surface in grey on white from cameras ``m``: ``m 3 H W`` in [-1, 1].

    A field without normals is shown by its depth.
    """
    scene = fuse_object(sample, model)
    coarse = scene.render(cameras[None], (sample.latents.shape[-2], sample.latents.shape[-1]))
    seen = render_shape(scene, cameras[None], (sample.images.shape[-2], sample.images.shape[-1]), coarse.opacity)
    opacity = seen.opacity[0].float().clamp(0, 1)
    if seen.normals is None:
        return _on_white(near_bright(seen.depth[0].float(), opacity)[:, None].expand(-1, 3, -1, -1), opacity)
    return _on_white(shaded(seen.normals[0].float(), opacity, cameras), opacity)


def field_views(sample: MeasuredObject, model: MultiviewDiffusion, cameras: Cameras) -> Tensor:
    """Render and decode what the field holds from cameras ``m``: ``m 3 H W`` in [-1, 1]."""
    size = sample.latents.shape[-2], sample.latents.shape[-1]
    rendering = fuse_object(sample, model).render(cameras[None], size)
    return model.backbone.decode_latents(model.blend(rendering, size))[0].float().clamp(-1, 1)


def mesh_views(
    sample: MeasuredObject,
    model: MultiviewDiffusion,
    cameras: Cameras,
    size: int,
    textured: bool,
    mesher: Mesher,
    renderer: Any,
) -> Tensor:
    """Mesh an object as it would be exported, and render the mesh from cameras ``m``: ``m 3 s s`` in [-1, 1].

    The texture is shown without light, since the views that it was baked from were lit. On the CPU.

    Raises:
        SampleError: the object has no surface.
    """
    scene = fuse_object(sample, model)
    if not isinstance(scene, HasSurface):
        raise SampleError("the field's scene has no surface, so there is nothing to mesh")
    shape = SceneShape(scene, model, (sample.latents.shape[-2], sample.latents.shape[-1]))
    colours, alpha = (sample.images.clamp(-1, 1) + 1) / 2, sample.silhouettes.float()
    with torch.enable_grad():  # a mesher may fit the shape to the masks, and metrics are asked without gradients
        mesh = mesher(shape, Pictures(colours.cpu(), alpha.cpu(), sample.cameras.to("cpu")), model.device)
    pictures = []
    for k, view in enumerate(renderer(mesh, cameras.to("cpu"), (size, size))):
        opacity = torch.from_numpy(np.asarray(view["rgba"])[..., 3]).float()[None] / 255
        if textured:
            colour = torch.from_numpy(np.asarray(view["albedo"])).permute(2, 0, 1).float()[None] / 255
            pictures.append((colour * opacity[:, None] + 1 - opacity[:, None]) * 2 - 1)
        else:
            normals = torch.from_numpy(np.asarray(view["normals"])).permute(2, 0, 1).float()[None]
            pictures.append(_on_white(shaded(normals, opacity, cameras[k : k + 1].to("cpu")), opacity))
    return torch.cat(pictures)


def _on_white(shades: Tensor, opacity: Tensor) -> Tensor:
    """Put shades ``m 3 H W`` in [0, 1] on black, whose opacity is ``m H W``, on white: in [-1, 1]."""
    return (GREY * shades + 1 - opacity[:, None]).clamp(0, 1) * 2 - 1
