"""The outputs of the pipeline: of a call, and to its callbacks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from diffusers.utils.outputs import BaseOutput
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.slots import Scene
from tunemv3d_core.viz.pictures import to_pil

CALLBACK_TENSORS = ("latents", "x_t", "x0", "opacity", "depth")
"""Tensors that a callback may ask for: ``b n c h w`` after the step; the model's input in it; the field's x0,
``b n v h w``; and its opacity and depth, ``b n h w``. The field's are None where no field ran."""


@dataclass
class TuneMV3DOutput(BaseOutput):  # type: ignore[misc]
    """Sampled objects. Without a field (plain 2D fine-tuning) there are only images and latents.

    Attributes:
        images: per object and view a PIL picture; "np": ``b n H W 3``, "pt": ``b n 3 H W``, sRGB in [0, 1];
            "latent": None.
        latents: ``b n c h w``, clean.
        cameras: ``b n``.
        scene: the field's, of the finished views: render it from any camera, or take its surface.
        renders: the scene at the same cameras and of the latents' size, decoded, in the images' type. None too where
            the field gives features.
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


def check_output(output_type: str, tensors: Sequence[str]) -> None:
    """Refuse unknown types of output and unknown tensors for callbacks before anything is sampled.

    Raises:
        TuneMV3DError: lists the known ones.
    """
    if output_type not in (known := ("pil", "np", "pt", "latent")):
        raise TuneMV3DError(f"output_type should be one of {', '.join(known)}, not {output_type!r}")
    if strays := [name for name in tensors if name not in CALLBACK_TENSORS]:
        raise TuneMV3DError(f"a callback can get {', '.join(CALLBACK_TENSORS)}, not {strays[0]!r}")
