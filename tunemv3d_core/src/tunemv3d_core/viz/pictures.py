"""Pictures of sampled views, and pictures that are given to a model."""

from collections.abc import Collection

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import TuneMV3DError


def to_pil(image: Tensor) -> Image.Image:
    """Convert ``3 H W``, ``4 H W`` or ``H W`` in [0, 1] to a picture."""
    pixels = (image.detach().cpu().float() * 255).round().clamp(0, 255).byte()
    return Image.fromarray((pixels.movedim(0, -1) if pixels.ndim == 3 else pixels).numpy())


RIM = 2
"""Width of the band at an object's edge into which the background bleeds in a decoded view, pixels."""

GROUND = 0.06
"""Largest distance of the background from white in any channel; where nothing nearby is darker than twice that, it is
noise.
"""

LIGHT = 0.2
"""Largest darkness of an object at which its edges cannot be told from the background; they count as covered."""


def cut_out(images: Tensor, opacity: Tensor) -> Tensor:
    """Cut views out of their white background: RGBA ``n 4 H W`` in [0, 1], straight alpha.

    Composited on white they are unchanged; on any other background no white shines at their edges. The background is
    the white where the field sees nothing, or only its own edge. Alpha of a pixel at the object's rim is its darkness
    relative to the object beside it, and its colour is what remains without the background.

    Args:
        images: ``n 3 H W`` in [0, 1].
        opacity: opacity of the field, ``n h w``.
    """
    size = (images.shape[-2], images.shape[-1])
    solid = torch.nn.functional.interpolate(opacity[:, None].to(images), size=size, mode="bilinear") > 0.5
    deep = ~_grown(~solid)
    darkness = 1 - images.amin(1, keepdim=True)
    darkest = _window(darkness)
    ground = (darkness < GROUND) & ~deep | (darkest < 2 * GROUND) & ~solid
    inner = ~_grown(ground)
    # As dark as the object is where it covers all of a pixel: its inside nearby, or the darkest where it is thin.
    weight = inner.to(images)
    inside = _blurred(darkness * weight) / _blurred(weight).clamp(min=1e-6)
    full = torch.where(_grown(inner), inside, darkest)
    covered = torch.where(full > LIGHT, (darkness / full.clamp(min=1e-6)).clamp(max=1), 1.0)
    alpha = torch.where(ground, 0.0, torch.where(inner, 1.0, covered)).to(images)
    colours = (images - (1 - alpha)) / alpha.clamp(min=1e-6)
    return torch.cat([torch.where(alpha > 0, colours.clamp(0, 1), images), alpha], dim=1)


def _window(maps: Tensor) -> Tensor:
    """Return the largest value of ``n 1 H W`` within ``RIM``."""
    return torch.nn.functional.max_pool2d(maps, 2 * RIM + 1, stride=1, padding=RIM)


def _grown(mask: Tensor) -> Tensor:
    """Dilate a mask ``n 1 H W`` by ``RIM``."""
    return _window(mask.float()) > 0


def _blurred(maps: Tensor) -> Tensor:
    """Return the mean of ``n 1 H W`` within ``RIM``."""
    return torch.nn.functional.avg_pool2d(maps, 2 * RIM + 1, stride=1, padding=RIM)


def read_picture(picture: Image.Image | Tensor, size: tuple[int, int]) -> Tensor:
    """Convert a picture to ``3 H W`` in [0, 1] on white. Pictures of another aspect ratio are padded.

    Args:
        picture: upright or with an orientation tag, of any mode; or a tensor ``3 h w`` in [0, 1] of the same ratio.
        size: (H, W).

    Raises:
        TuneMV3DError: any other type, a picture of floating-point numbers, or a tensor of another shape or range.
    """
    if isinstance(picture, Tensor):
        return _resized(picture, size)
    if not isinstance(picture, Image.Image):
        raise TuneMV3DError(f"a known view should be a PIL picture or a tensor '3 H W', not {type(picture).__name__}")
    padded = ImageOps.pad(on_white(as_rgba(picture)), size[::-1], color="white")
    return torch.from_numpy(np.array(padded)).movedim(-1, 0).float() / 255


def as_rgba(picture: Image.Image) -> Image.Image:
    """Convert a picture of any mode, upright or with an orientation tag, to an upright RGBA one of 8 bits.

    Raises:
        TuneMV3DError: a picture of floating-point numbers.
    """
    picture = ImageOps.exif_transpose(picture)
    if picture.mode == "F":
        raise TuneMV3DError(
            "a picture of floating-point numbers, whose white level is unknown: save it with 8 or 16 bits"
        )
    if picture.mode.startswith("I"):
        # 16 bits per channel, which Pillow would clip to 8.
        picture = Image.fromarray((np.asarray(picture) / 257).astype(np.uint8))
    return picture.convert("RGBA")


def on_white(picture: Image.Image) -> Image.Image:
    """Put an RGBA picture on white: RGB."""
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def _resized(picture: Tensor, size: tuple[int, int]) -> Tensor:
    given = tuple(picture.shape)
    if len(given) != 3 or given[0] != 3 or given[1] * size[1] != given[2] * size[0]:
        raise TuneMV3DError(f"a known view should be a picture, or a tensor '3 H W' like the views; got {given}")
    if float(picture.min()) < 0 or float(picture.max()) > 1:
        raise TuneMV3DError(f"a known view's values should lie in [0, 1]; got up to {float(picture.max()):g}")
    sized = torch.nn.functional.interpolate(picture[None].float(), size, mode="bilinear", antialias=True)
    return sized[0].clamp(0, 1)


GIVEN = (0.95, 0.5, 0.05)
"""Colour of the frame around views that were given, not made."""


def grid(
    images: Tensor,
    renders: Tensor | None,
    opacity: Tensor | None,
    depth: Tensor | None,
    given: Collection[int] = (),
) -> Image.Image:
    """Draw one object's views in a row; below them its field's renders, opacity and depth, if any (near is bright).

    Args:
        images: ``n 3 H W`` in [0, 1].
        renders: the field's, like ``images``.
        opacity: ``n h w``.
        depth: ``n h w``.
        given: indices of views that were given; they get a frame.
    """
    framed = images.clone()
    for index in given:
        framed[index] = _framed(images[index])
    rows = [framed] if renders is None else [framed, renders]
    if opacity is not None and depth is not None:
        rows += [enlarged(m, tuple(images.shape[-2:])) for m in (opacity, near_bright(depth, opacity))]  # type: ignore[arg-type]
    return to_pil(torch.cat([torch.cat(list(row), dim=-1) for row in rows], dim=-2))


def _framed(image: Tensor) -> Tensor:
    """Draw a frame on the outermost pixels of ``3 H W``."""
    width = max(1, image.shape[-1] // 64)
    inside = torch.zeros_like(image, dtype=torch.bool)
    inside[:, width:-width, width:-width] = True
    return torch.where(inside, image, image.new_tensor(GIVEN)[:, None, None])


def near_bright(depth: Tensor, opacity: Tensor) -> Tensor:
    """Convert depth maps ``n h w`` to brightness: 1 at the nearest surface, 0.2 at the farthest, 0 where nothing is."""
    seen = opacity > 0.5
    if not bool(seen.any()):
        return torch.zeros_like(depth)
    near, far = depth[seen].min(), depth[seen].max()
    return torch.where(seen, 1 - 0.8 * (depth - near) / (far - near).clamp(min=1e-6), torch.zeros_like(depth))


def shaded(normals: Tensor, opacity: Tensor, cameras: Cameras) -> Tensor:
    """Shade a bare surface by a light at the camera, on black: ``m 3 H W`` in [0, 1].

    Args:
        normals: ``m 3 H W``, world space.
        opacity: ``m H W``.
        cameras: ``m``.
    """
    towards = -cameras.camera_to_world[:, :3, 2][:, :, None, None].to(normals)
    light = 0.25 + 0.75 * (normals * towards).sum(1).clamp(min=0)
    return (light * opacity.to(normals))[:, None].expand(-1, 3, -1, -1)


def enlarged(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Enlarge ``n h w`` to grey ``n 3 H W``, cell by cell."""
    large = torch.nn.functional.interpolate(maps[:, None].float(), size=size, mode="nearest")
    return large.expand(-1, 3, -1, -1)
