"""Pictures of what was sampled."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from tunemv3d_core.errors import TuneMV3DError

if TYPE_CHECKING:
    from tunemv3d_modulation.pipeline import TuneMV3DOutput


def to_pil(image: Tensor) -> Image.Image:
    """``H W 3`` or ``H W`` in [0, 1] as a picture."""
    return Image.fromarray((image.detach().cpu().float() * 255).round().clamp(0, 255).byte().numpy())


def read_picture(picture: Image.Image | Tensor, size: int) -> Tensor:
    """A picture on white as ``3 size size`` in [0, 1]. Tensors are ``3 H H``; files that are not square are padded.

    Raises:
        TuneMV3DError: a tensor of another shape.
    """
    if isinstance(picture, Tensor):
        if picture.ndim != 3 or picture.shape[0] != 3 or picture.shape[1] != picture.shape[2]:
            raise TuneMV3DError(f"a known view should be a picture, or a tensor '3 H H'; got {tuple(picture.shape)}")
        sized = torch.nn.functional.interpolate(picture[None].float(), (size, size), mode="bilinear", antialias=True)
        return sized[0]
    on_white = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA")).convert("RGB")
    square = ImageOps.pad(on_white, (size, size), color="white")
    return torch.from_numpy(np.array(square)).movedim(-1, 0).float() / 255


def grid(output: "TuneMV3DOutput", index: int) -> Image.Image:
    """One object's views in a row; below them, where there is a field, its renders, opacity and depth (near is bright).

    Args:
        output: of the pipeline.
        index: of the object.
    """
    rows = [output.images[index]]
    height, width = rows[0].shape[1:3]
    if output.renders is not None:
        rows.append(output.renders[index])
    if output.opacity is not None and output.depth is not None:
        maps = (output.opacity[index], near_bright(output.depth[index], output.opacity[index]))
        rows += [_enlarged(m, (height, width)) for m in maps]
    return to_pil(torch.cat([torch.cat(list(row), dim=1) for row in rows]))


def near_bright(depth: Tensor, opacity: Tensor) -> Tensor:
    """Depth maps ``n h w`` as brightness: 1 at the nearest surface, 0.2 at the farthest, 0 where nothing is."""
    seen = opacity > 0.5
    if not bool(seen.any()):
        return torch.zeros_like(depth)
    near, far = depth[seen].min(), depth[seen].max()
    return torch.where(seen, 1 - 0.8 * (depth - near) / (far - near).clamp(min=1e-6), torch.zeros_like(depth))


def _enlarged(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """``n h w`` as grey ``n H W 3``, cell by cell."""
    large = torch.nn.functional.interpolate(maps[:, None].float(), size=size, mode="nearest")
    return large[:, 0, :, :, None].expand(-1, -1, -1, 3)
