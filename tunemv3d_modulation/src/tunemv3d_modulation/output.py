"""The output of the pipeline's call."""

from dataclasses import dataclass
from typing import Any

from diffusers.utils.outputs import BaseOutput
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.slots import Scene
from tunemv3d_core.viz.pictures import to_pil

OUTPUT_TYPES = ("pil", "np", "pt", "latent")


@dataclass
class TuneMV3DOutput(BaseOutput):  # type: ignore[misc]
    """Sampled objects. Without a field (plain 2D fine-tuning) there are only images and latents.

    Attributes:
        images: per object and view a PIL picture; "np": ``b n H W 3``, "pt": ``b n 3 H W``, sRGB in [0, 1];
            "latent": the latents.
        latents: ``b n c h w``, clean.
        cameras: ``b n``.
        scene: the field's, of the finished views: render it from any camera, or take its surface.
        renders: the scene at the same cameras and of the latents' size, decoded, in the images' type ("latent": not
            decoded). None too where the field gives features.
        opacity: ``b n H W``, 0 to 1.
        depth: ``b n H W``, z in the camera, world units, 0 where nothing was hit. None too where the field renders only
            the views that it saw: it knows no geometry.
        normals: ``b n 3 H W``, outward, world space; None too where the field knows none.
    """

    images: Any
    latents: Tensor
    cameras: Cameras
    scene: Scene | None = None
    renders: Any = None
    opacity: Tensor | None = None
    depth: Tensor | None = None
    normals: Tensor | None = None


def as_type(images: Tensor, output_type: str) -> Any:
    """Convert ``b n 3 H W`` in [0, 1] to "pil", "np" or "pt", as diffusers users ask for them."""
    if output_type == "np":
        return images.movedim(2, -1).cpu().numpy()
    return [[to_pil(view) for view in views] for views in images] if output_type == "pil" else images
