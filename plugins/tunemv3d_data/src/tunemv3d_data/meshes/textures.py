"""Pictures on meshes as 8-bit RGBA, whatever they were; those that cannot be shown are notes."""

import sys
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tunemv3d_core.io.pictures import open_picture
from tunemv3d_data.notes import note

Bytes = NDArray[np.uint8]

MAX_SIDE = 4096
"""Larger textures are scaled down: no picture shows more of them."""
MAX_PIXELS = 16384**2
"""Of a texture before it is scaled down, which takes 1.1 GB for the moment; JPEG files, which are decoded at a fraction
of their size, may have 64 times as many."""
_ROWS = 256
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tga", ".tif", ".tiff", ".webp", ".dds", ".ktx2")


def is_picture(name: str) -> bool:
    """Return whether a file's name is that of a picture."""
    return PurePath(name.replace("\\", "/")).suffix.lower() in SUFFIXES


def opened(data: bytes, name: str) -> Image.Image | None:
    """Open a picture of any size without decoding it; None with a note if it is none."""
    limit = Image.MAX_IMAGE_PIXELS
    try:
        Image.MAX_IMAGE_PIXELS = None  # ``pixels`` has a limit of its own
        return open_picture(data, sys.maxsize)
    except Exception as error:  # damaged headers provoke errors of any kind
        _colour_instead(name, _short(error))
        return None
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def pixels(image: Image.Image, name: str) -> Bytes | None:
    """Decode a picture as ``h w 4``, scaled down to at most ``MAX_SIDE`` per side with a note.

    None with a note if it is damaged, or has more than ``MAX_PIXELS``.
    """
    width, height = image.size
    try:
        if max(width, height) > MAX_SIDE:
            image.draft("RGB", (MAX_SIDE, MAX_SIDE))
        if image.width * image.height > MAX_PIXELS:
            _colour_instead(name, f"{width:,} x {height:,} pixels are more than {MAX_PIXELS:,}; scale it down")
            return None
        rgba = _reduced(image, -(-max(image.size) // MAX_SIDE))
    except Exception as error:  # so do damaged contents
        _colour_instead(name, _short(error))
        return None
    if rgba.shape[:2] != (height, width):
        said = f"{width:,} x {height:,} pixels are scaled down to {rgba.shape[1]:,} x {rgba.shape[0]:,}"
        note("texture scaled down", f"texture {name}: {said}")
    return rgba


def _reduced(image: Image.Image, factor: int) -> Bytes:
    """A picture as ``h w 4``, squares of ``factor`` x ``factor`` pixels as one; in strips, to need no copy of it."""
    if factor == 1:
        return np.asarray(_eight_bit(image).convert("RGBA"))
    strips = []
    for top in range(0, image.height, _ROWS * factor):
        strip = image.crop((0, top, image.width, min(top + _ROWS * factor, image.height)))
        strips.append(np.asarray(_eight_bit(strip).convert("RGBA").reduce(factor)))
    return np.concatenate(strips)


def opacity_of(rgba: Bytes) -> Bytes:
    """Take a picture ``h w 4`` for an opacity map ``h w``: its alpha where it has one, else its brightness."""
    if (rgba[..., 3] < 255).any():
        return rgba[..., 3]
    return np.asarray(Image.fromarray(rgba).convert("L"))


def resized(values: Bytes, size: tuple[int, int]) -> Bytes:
    """Resize ``h w`` values to another size (h, w)."""
    if values.shape == size:
        return values
    return np.asarray(Image.fromarray(values).resize(size[::-1], Image.Resampling.BILINEAR))


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit and floating-point grey, which Pillow would cut at 255."""
    if image.mode == "F":
        values = np.asarray(image) * 255
    elif image.mode.startswith("I"):
        values = np.asarray(image).astype(np.float64) / 257
    else:
        return image
    return Image.fromarray(np.nan_to_num(values).clip(0, 255).round().astype(np.uint8))


def _colour_instead(name: str, why: str) -> None:
    note("unreadable texture", f"texture {name}: {why}; the material's colour instead")


def _short(error: Exception) -> str:
    return str(error).split("<", 1)[0].strip() or type(error).__name__
