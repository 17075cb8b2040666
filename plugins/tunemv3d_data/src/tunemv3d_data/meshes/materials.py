"""Materials of trimesh's meshes as textures: colours, pictures, what is see-through, and colours of vertices."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import trimesh
from numpy.typing import NDArray
from PIL import Image

from tunemv3d_data.meshes.textures import Bytes, pixels, resized

Floats = NDArray[np.float32]
Wrap = Literal["repeat", "clamp", "mirror"]

GLASS = np.array([0.80, 0.88, 0.90])
UNPAINTED = np.array([0.7, 0.7, 0.7, 1.0])


@dataclass(frozen=True)
class Material:
    """A surface's texture, and what is known of it.

    Attributes:
        name: the modeller's, with the texture's file name: captions look for words such as "oak" in it.
        texture: ``h w 4`` sRGB with alpha, of which more than a half is opaque. A plain colour is a texture of 1 x 1.
        wrap: how the texture goes on beyond its borders, along u and along v.
        smooth: texels are mixed with their neighbours; else each is a square of one colour.
        double_sided: its faces are seen from both sides; else only where their corners run counter-clockwise.
    """

    name: str
    texture: Bytes
    wrap: tuple[Wrap, Wrap] = ("repeat", "repeat")
    smooth: bool = True
    double_sided: bool = True

    @property
    def colour(self) -> Floats:
        """Mean sRGB colour of the opaque part, 0 to 1, shape (3,)."""
        opaque = self.texture[self.texture[..., 3] > 127]
        found = opaque if len(opaque) else self.texture.reshape(-1, 4)
        return np.asarray(found[:, :3].mean(0) / 255, dtype=np.float32)


def material_of(part: trimesh.Trimesh) -> tuple[Material, Any, Floats | None]:
    """Read a part's material, its corners' texture coordinates ``f 3 2``, and factors on the colour or None.

    Args:
        part: a trimesh mesh with faces.
    """
    nowhere = np.zeros((len(part.faces), 3, 2), dtype=np.float32)
    look = getattr(part.visual, "material", None)
    uv = getattr(part.visual, "uv", None)
    if look is None:
        material, factors = _painted(part)
        return material, nowhere, factors
    is_physical = isinstance(look, trimesh.visual.material.PBRMaterial)
    image = look.baseColorTexture if is_physical else getattr(look, "image", None)
    name = " ".join((str(getattr(look, "name", "") or ""), _file_of(image))).strip()
    has_uv = uv is not None and len(uv) == len(part.vertices)
    texture = None if image is None else pixels(image, _file_of(image) or name or "inside the file")
    colour = _physical(look) if is_physical else _phong(look, texture is not None)
    if texture is None:
        return Material(name, plain(glassy(colour))), nowhere, None
    if is_physical:
        texture, colour = _alpha_by_mode(texture, look, colour)
    material = Material(name, tinted(texture, colour))
    if not has_uv:
        return replace(material, texture=plain(np.append(material.colour, 1.0))), nowhere, None
    return material, np.asarray(uv)[part.faces], None


def _painted(part: trimesh.Trimesh) -> tuple[Material, Floats | None]:
    """Colours of faces or vertices."""
    if part.visual.kind is None:
        return Material("", plain(UNPAINTED)), None
    if part.visual.kind == "face":
        corners = np.repeat(np.asarray(part.visual.face_colors, dtype=np.uint8).reshape(-1, 1, 4), 3, axis=1)
    else:
        corners = np.asarray(trimesh.visual.color.to_rgba(part.visual.vertex_colors), dtype=np.uint8)[part.faces]
    linear = srgb_to_linear(np.arange(256) / 255).astype(np.float32)[corners]
    linear[..., 3] = 1
    return coloured(linear)


def _physical(look: Any) -> Any:
    """Base colour factor of a glTF material, sRGB with alpha."""
    factor = look.baseColorFactor
    colour = np.ones(4) if factor is None else np.asarray(factor, dtype=np.float64) / 255
    opaque = look.alphaMode not in ("MASK", "BLEND")
    return np.append(linear_to_srgb(colour[:3]), 1.0 if opaque else colour[3])


def _phong(look: Any, is_textured: bool) -> Any:
    """Diffuse colour of a material without physics."""
    # Where a texture is given, many exporters leave a diffuse colour that was never meant to be multiplied.
    colour = np.ones(3) if is_textured else np.asarray(look.diffuse, dtype=np.float64)[:3] / 255
    return np.append(colour, 1.0)


def _alpha_by_mode(texture: Bytes, look: Any, colour: Any) -> tuple[Bytes, Any]:
    """glTF: a picture's alpha counts in MASK and BLEND alone, and in MASK it is all or nothing."""
    if look.alphaMode == "BLEND":
        return texture, colour
    alpha = np.full(texture.shape[:2], 255, dtype=np.uint8)
    if look.alphaMode == "MASK":
        cutoff = 0.5 if look.alphaCutoff is None else float(look.alphaCutoff)
        alpha[texture[..., 3] * (colour[3] / 255) < cutoff] = 0
    return np.dstack([texture[..., :3], alpha]), np.append(colour[:3], 1.0)


def tinted(texture: Bytes, colour: Any) -> Bytes:
    """Return a texture times a colour, made paler where the colour is see-through."""
    if (colour == 1).all():
        return texture
    levels = np.arange(256)[:, None] / 255 * colour[:3] * colour[3] + GLASS * (1 - colour[3])
    table = to_bytes(levels)
    return np.dstack([*(table[texture[..., i], i] for i in range(3)), texture[..., 3]])


def emitting(texture: Bytes, emission: Bytes) -> Bytes:
    """Add light that a surface sends out to its colour, in linear light: the surface shows both, cut at white.

    Args:
        texture: ``h w 4`` sRGB.
        emission: ``h w 3`` sRGB; resized to the texture, or the texture to it, whichever is larger.
    """
    if not emission.any():
        return texture
    size = (max(texture.shape[0], emission.shape[0]), max(texture.shape[1], emission.shape[1]))
    texture, emission = (
        np.dstack([resized(np.ascontiguousarray(values[..., i]), size) for i in range(values.shape[-1])])
        for values in (texture, emission)
    )
    linear = srgb_to_linear(np.arange(256) / 255).astype(np.float32)
    total = np.clip(linear[texture[..., :3]] + linear[emission], 0, 1)
    return np.dstack([to_bytes(linear_to_srgb(total)), texture[..., 3]])


def coloured(corners: Any) -> tuple[Material, Floats | None]:
    """Split colours of corners into a plain material and what is left to multiply it by.

    Args:
        corners: ``f 3 4``, linear light.

    Returns:
        the mean colour, and factors ``f 3 4`` on it; None where all corners have that colour.
    """
    material = Material("", plain(np.append(linear_to_srgb(corners[..., :3].mean((0, 1), dtype=np.float64)), 1.0)))
    mean = srgb_to_linear(material.texture[0, 0, :3] / 255)
    factors = np.ones(corners.shape, dtype=np.float32)
    np.divide(corners[..., :3], mean, out=factors[..., :3], where=mean > 0, casting="unsafe")
    factors[..., 3] = corners[..., 3]
    is_plain = np.ptp(corners.reshape(-1, 4), axis=0).max() == 0 and corners[0, 0, 3] == 1
    return material, None if is_plain else factors


def glassy(colour: Any) -> Any:
    """Return a see-through colour as an opaque, pale one: views stay consistent, and glass still looks like glass."""
    rgb = colour[:3] * colour[3] + GLASS * (1 - colour[3])
    return np.append(rgb, 1.0)


def plain(colour: Any) -> Bytes:
    """Return a colour, sRGB with alpha, 0 to 1, as a texture of one texel."""
    return to_bytes(np.asarray(colour, dtype=np.float64).reshape(1, 1, 4))


def to_bytes(values: Any) -> Bytes:
    """Round 0 to 1 to 0 to 255."""
    return np.asarray((np.clip(values, 0, 1) * 255).round(), dtype=np.uint8)


def srgb_to_linear(values: Any) -> Any:
    """Convert sRGB, 0 to 1, to linear light."""
    values = np.asarray(values)
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(values: Any) -> Any:
    """Convert linear light, 0 to 1, to sRGB."""
    return np.where(values <= 0.0031308, values * 12.92, 1.055 * np.clip(values, 1e-9, None) ** (1 / 2.4) - 0.055)


def _file_of(image: Image.Image | None) -> str:
    return "" if image is None else str(image.info.get("file_path", ""))
