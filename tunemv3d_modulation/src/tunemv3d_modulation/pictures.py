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


def read_picture(picture: Image.Image | Tensor, size: tuple[int, int]) -> Tensor:
    """A picture on white as ``3 H W`` in [0, 1] for ``size`` (H, W). Files of another aspect ratio are padded.

    Args:
        picture: upright or with an orientation tag, of any mode; or a tensor ``3 h w`` in [0, 1] of the same ratio.
        size: (H, W).

    Raises:
        TuneMV3DError: something else, or a tensor of another shape or range.
    """
    if isinstance(picture, Tensor):
        return _resized(picture, size)
    if not isinstance(picture, Image.Image):
        raise TuneMV3DError(f"a known view should be a PIL picture or a tensor '3 H W', not {type(picture).__name__}")
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I"):
        # 16 bits a pixel, which Pillow would clip to 8.
        picture = Image.fromarray((np.asarray(picture) / 257).astype(np.uint8))
    on_white = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA")).convert("RGB")
    padded = ImageOps.pad(on_white, size[::-1], color="white")
    return torch.from_numpy(np.array(padded)).movedim(-1, 0).float() / 255


def _resized(picture: Tensor, size: tuple[int, int]) -> Tensor:
    given = tuple(picture.shape)
    if len(given) != 3 or given[0] != 3 or given[1] * size[1] != given[2] * size[0]:
        raise TuneMV3DError(f"a known view should be a picture, or a tensor '3 H W' like the views; got {given}")
    if float(picture.min()) < 0 or float(picture.max()) > 1:
        raise TuneMV3DError(f"a known view's values should lie in [0, 1]; got up to {float(picture.max()):g}")
    sized = torch.nn.functional.interpolate(picture[None].float(), size, mode="bilinear", antialias=True)
    return sized[0].clamp(0, 1)


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
