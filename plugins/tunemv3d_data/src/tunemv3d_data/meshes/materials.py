"""Materials of trimesh's meshes as textures: colours, pictures, what is see-through, and colours of vertices."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray
from PIL import Image

from tunemv3d_data.meshes.textures import Bytes, opacity, pixels, resized

Floats = NDArray[np.float32]
Pictures = Callable[[str], Image.Image | None]

SMOOTH_FACES = 20_000
"""Up to so many faces, colours of vertices run smoothly over a face; more faces are about as small as pixels."""
_GLASS = np.array([0.80, 0.88, 0.90])
_UNPAINTED = np.array([0.7, 0.7, 0.7, 1.0])


@dataclass(frozen=True)
class Material:
    """A surface's texture, and what is known of it.

    Attributes:
        name: the modeller's, with the texture's file name: captions look for words such as "oak" in it.
        texture: ``h w 4`` sRGB with alpha. A plain colour is a texture of 1 x 1.
        atlas: neighbouring texels belong to different faces: a renderer must not average them.
    """

    name: str
    texture: Bytes
    atlas: bool = False

    @property
    def colour(self) -> Floats:
        """Mean sRGB colour of the opaque part, 0 to 1, shape (3,)."""
        opaque = self.texture[self.texture[..., 3] > 127]
        found = opaque if len(opaque) else self.texture.reshape(-1, 4)
        return np.asarray(found[:, :3].mean(0) / 255, dtype=np.float32)


def material_of(part: trimesh.Trimesh, picture: Pictures = lambda name: None) -> tuple[Material, Any]:
    """Read a part's material and its corners' texture coordinates, ``f 3 2``.

    Args:
        part: a trimesh mesh with faces.
        picture: finds a picture by the name that a material file gives it.
    """
    look = getattr(part.visual, "material", None)
    uv = getattr(part.visual, "uv", None)
    if look is None:
        return _vertex_colours(part, np.ones(4))
    is_physical = isinstance(look, trimesh.visual.material.PBRMaterial)
    image = look.baseColorTexture if is_physical else getattr(look, "image", None)
    name = " ".join((str(getattr(look, "name", "") or ""), _file_of(image))).strip()
    has_uv = uv is not None and len(uv) == len(part.vertices)
    texture = None if image is None else pixels(image, _file_of(image) or name or "inside the file")
    colour = _physical(look) if is_physical else _phong(look, texture is not None)
    colours = (part.visual.vertex_attributes or {}).get("color")
    if texture is None and colours is not None and len(colours) == len(part.vertices):
        return _vertex_colours(part, colour, np.asarray(colours))
    mask = _opacity_map(look, picture) if has_uv and not is_physical else None
    if mask is not None:
        texture, colour = _with_opacity(texture, mask, colour)
    nowhere = np.zeros((len(part.faces), 3, 2), dtype=np.float32)
    if texture is None:
        return Material(name, _plain(_glassy(colour))), nowhere
    if is_physical:
        texture, colour = _alpha_by_mode(texture, look, colour)
    material = Material(name, _tinted(texture, colour))
    if not has_uv:
        return replace(material, texture=_plain(np.append(material.colour, 1.0))), nowhere
    return material, np.asarray(uv)[part.faces]


def _physical(look: Any) -> Any:
    """Base colour factor of a glTF material, sRGB with alpha."""
    factor = look.baseColorFactor
    colour = np.ones(4) if factor is None else np.asarray(factor, dtype=np.float64) / 255
    opaque = look.alphaMode not in ("MASK", "BLEND")
    return np.append(_linear_to_srgb(colour[:3]), 1.0 if opaque else colour[3])


def _phong(look: Any, is_textured: bool) -> Any:
    """Diffuse colour of an OBJ or COLLADA material, with its opacity."""
    # Where a texture is given, many exporters leave a diffuse colour that was never meant to be multiplied.
    colour = np.ones(3) if is_textured else np.asarray(look.diffuse, dtype=np.float64)[:3] / 255
    return np.append(colour, _opacity(look))


def _opacity(look: Any) -> float:
    """``d`` of an MTL file, or 1 - ``Tr``; whole transparency by ``Tr`` is an exporter that meant the opposite."""
    for key, sign in (("d", 1.0), ("tr", -1.0)):
        value = look.kwargs.get(key)
        try:
            number = float(value[-1] if isinstance(value, list) else value)
        except (TypeError, ValueError, IndexError):
            continue
        return number if sign > 0 else 1.0 - number % 1.0
    return 1.0


def _opacity_map(look: Any, picture: Pictures) -> Bytes | None:
    """``map_d`` of an MTL file."""
    named = getattr(look, "kwargs", None) and look.kwargs.get("map_d")
    if not named:
        return None
    name = " ".join(named)
    image = getattr(look, "image", None)
    if image is not None and name == _file_of(image) and image.mode in ("RGBA", "LA", "PA", "P"):
        return None  # the picture's own alpha, which is used anyway
    found = picture(name)
    return None if found is None else opacity(found, name)


def _with_opacity(texture: Bytes | None, mask: Bytes, colour: Any) -> tuple[Bytes, Any]:
    """A texture, or a plain colour, with an opacity map as its alpha; and the tint that is left."""
    if texture is not None:
        return np.dstack([texture[..., :3], resized(mask, texture.shape[:2])]), colour
    plain = np.broadcast_to(_to_bytes(colour[:3]), (*mask.shape, 3))
    return np.dstack([plain, mask]), np.append(np.ones(3), colour[3])


def _alpha_by_mode(texture: Bytes, look: Any, colour: Any) -> tuple[Bytes, Any]:
    """glTF: a picture's alpha counts in MASK and BLEND alone, and in MASK it is all or nothing."""
    if look.alphaMode == "BLEND":
        return texture, colour
    alpha = np.full(texture.shape[:2], 255, dtype=np.uint8)
    if look.alphaMode == "MASK":
        cutoff = 0.5 if look.alphaCutoff is None else float(look.alphaCutoff)
        alpha[texture[..., 3] * (colour[3] / 255) < cutoff] = 0
    return np.dstack([texture[..., :3], alpha]), np.append(colour[:3], 1.0)


def _tinted(texture: Bytes, colour: Any) -> Bytes:
    """A texture times a colour, made paler where the colour is see-through."""
    if (colour == 1).all():
        return texture
    levels = np.arange(256)[:, None] / 255 * colour[:3] * colour[3] + _GLASS * (1 - colour[3])
    table = _to_bytes(levels)
    return np.dstack([*(table[texture[..., i], i] for i in range(3)), texture[..., 3]])


def _vertex_colours(part: trimesh.Trimesh, tint: Any, given: Any = None) -> tuple[Material, Any]:
    """Colours of faces or vertices as a texture: a texel for each distinct face colour, or 2 x 2 texels a face."""
    count = len(part.faces)
    if given is None and part.visual.kind is None:
        return Material("", _plain(_UNPAINTED)), np.zeros((count, 3, 2), dtype=np.float32)
    if given is None and part.visual.kind == "face":
        corners = np.repeat(np.asarray(part.visual.face_colors, dtype=np.uint8).reshape(-1, 1, 4), 3, axis=1)
    else:
        colours = trimesh.visual.color.to_rgba(part.visual.vertex_colors if given is None else given)
        corners = np.asarray(colours, dtype=np.uint8)[part.faces]
    if not (tint == 1).all():
        corners = _to_bytes(corners / 255 * _glassy(tint))
    corners = corners.copy()
    corners[..., 3] = 255
    if count <= SMOOTH_FACES and (corners != corners[:, :1]).any():
        return _atlas(corners)
    mean = corners.mean(1, dtype=np.float32).round().astype(np.uint8)
    distinct, which = np.unique(mean, axis=0, return_inverse=True)
    u = (which.reshape(-1).astype(np.float64) + 0.5) / len(distinct)
    uv = np.repeat(np.stack([u, np.full_like(u, 0.5)], axis=-1)[:, None], 3, axis=1)
    return Material("", distinct[None].copy()), uv


def _atlas(corners: Bytes) -> tuple[Material, Any]:
    """Texels of 2 x 2 a face whose bilinear mixture is the mixture of its corners' colours, ``f 3 4``.

    It is exact but where the fourth texel, second + third - first, would leave the range of colours.
    """
    count = len(corners)
    side = int(np.ceil(np.sqrt(count)))
    first, second, third = corners.astype(np.int16).transpose(1, 0, 2)
    fourth = np.clip(second + third - first, 0, 255)
    blocks = np.zeros((side * side, 2, 2, 4), dtype=np.uint8)
    blocks[:count] = np.stack([first, second, third, fourth], axis=1).reshape(count, 2, 2, 4)
    texture = blocks.reshape(side, side, 2, 2, 4).transpose(0, 2, 1, 3, 4).reshape(side * 2, side * 2, 4)
    row, column = np.divmod(np.arange(count), side)
    place = np.stack([column, row], axis=-1)[:, None] * 2 + np.array([[0, 0], [1, 0], [0, 1]]) + 0.5
    uv = place / (side * 2)
    return Material("", texture, atlas=True), np.stack([uv[..., 0], 1 - uv[..., 1]], axis=-1)


def _glassy(colour: Any) -> Any:
    """A see-through colour as an opaque, pale one: views of glass stay consistent, and glass still looks like glass."""
    rgb = colour[:3] * colour[3] + _GLASS * (1 - colour[3])
    return np.append(rgb, 1.0)


def _plain(colour: Any) -> Bytes:
    return _to_bytes(np.asarray(colour, dtype=np.float64).reshape(1, 1, 4))


def _to_bytes(values: Any) -> Bytes:
    return np.asarray((np.clip(values, 0, 1) * 255).round(), dtype=np.uint8)


def _linear_to_srgb(values: Any) -> Any:
    return np.where(values <= 0.0031308, values * 12.92, 1.055 * np.clip(values, 1e-9, None) ** (1 / 2.4) - 0.055)


def _file_of(image: Image.Image | None) -> str:
    return "" if image is None else str(image.info.get("file_path", ""))
