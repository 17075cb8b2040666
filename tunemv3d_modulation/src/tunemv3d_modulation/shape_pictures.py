"""Fig. 1 of the paper as pictures: the views' denoising above, the field's surface below; and a turntable."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.generation import ELEVATION
from tunemv3d_core.latents import decode_pictures
from tunemv3d_core.slots import Scene
from tunemv3d_core.viz.geometry import surface_pictures
from tunemv3d_core.viz.pictures import to_pil
from tunemv3d_modulation.pipeline import TuneMV3DPipeline

COLUMNS = 8
"""Steps that the strip shows."""

TURNTABLE = 36
"""Views of a turntable, ten degrees apart."""


@dataclass
class Recorder:
    """A ``callback_on_step_end`` that keeps every step's x_t; have it called with "x_t"."""

    seen: list[tuple[float, Tensor]] = field(default_factory=list)

    def __call__(self, pipe: TuneMV3DPipeline, index: int, t: float, tensors: dict[str, Any]) -> None:
        """Keep one step's x_t."""
        self.seen.append((t, tensors["x_t"]))


@torch.no_grad()
def shape_steps(
    pipe: TuneMV3DPipeline, prompt: str, cameras: Cameras, seen: Sequence[tuple[float, Tensor]], view: int = 0
) -> list[Image.Image]:
    """Draw, for some of the steps, one view as it was then above the surface that the field saw in all views.

    Args:
        pipe: the pipeline that sampled them.
        prompt: of the one object.
        cameras: ``n``.
        seen: t and x_t (``1 n c h w``) of every step.
        view: which one to show.
    """
    chosen = [seen[round(i * (len(seen) - 1) / max(1, COLUMNS - 1))] for i in range(min(COLUMNS, len(seen)))]
    model, place = pipe.model, cameras[None].to(seen[0][1].device)
    text = model.backbone.encode_text([prompt])
    pictures = []
    for t, x_t in chosen:
        images = decode_pictures(model.backbone, x_t[:, view : view + 1])[0, 0]
        level = torch.full(x_t.shape[:2], t, device=x_t.device)
        scene = pipe.model.fuse(x_t, level, text, place)
        camera = place[:, view : view + 1]
        coarse = scene.render(camera, (x_t.shape[-2], x_t.shape[-1]))
        below = surface_pictures(scene, camera, (images.shape[-2], images.shape[-1]), coarse)[0, 0]
        pictures.append(to_pil(torch.cat([images, below.to(images)], dim=-2)))
    return pictures


def side_by_side(pictures: Sequence[Image.Image]) -> Image.Image:
    """Put pictures of one size in a row."""
    width, height = pictures[0].size
    row = Image.new("RGB", (width * len(pictures), height))
    for i, picture in enumerate(pictures):
        row.paste(picture, (i * width, 0))
    return row


@torch.no_grad()
def turntable(pipe: TuneMV3DPipeline, scene: Scene, views: int = TURNTABLE) -> list[Image.Image]:
    """Draw one turn around a scene (a batch of one): the field's novel views, decoded, beside its surface."""
    h, w = pipe.latent_size()
    around = Cameras.orbit(views, elevation=ELEVATION, aspect=w / h).to(pipe.execution_device)[None]
    frames = []
    for index in range(views):
        camera = around[:, index : index + 1]
        seen = scene.render(camera, (h, w))
        latents = pipe.model.blend(seen, (h, w))
        image = decode_pictures(pipe.model.backbone, latents)[0, 0]
        bare = surface_pictures(scene, camera, (image.shape[-2], image.shape[-1]), seen)[0, 0]
        frames.append(to_pil(torch.cat([image, bare.to(image)], dim=-1)))
    return frames
