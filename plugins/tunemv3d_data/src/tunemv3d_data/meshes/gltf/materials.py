"""glTF's materials as textures: the base colour with what it emits, as far as it is opaque.

Renderers show a matt surface under their own light. So the base colour counts: that of pbrMetallicRoughness,
or the diffuse colour where a file has specularGlossiness alone. Metal, gloss and bumps do not show.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from tunemv3d_data.meshes.gltf import document as gltf
from tunemv3d_data.meshes.gltf.images import Images
from tunemv3d_data.meshes.materials import (
    GLASS,
    Floats,
    Material,
    Wrap,
    coloured,
    emitting,
    linear_to_srgb,
    plain,
    srgb_to_linear,
    to_bytes,
)
from tunemv3d_data.meshes.textures import Bytes
from tunemv3d_data.notes import note

INVISIBLE = 0.05
"""A surface that blends with less than this shows nothing; others are glass."""
_SEMI = 0.01
_WHITE = np.full((1, 1, 4), 255, dtype=np.uint8)
_SPECULAR, _UNLIT = "KHR_materials_pbrSpecularGlossiness", "KHR_materials_unlit"
_STRENGTH, _TRANSFORM = "KHR_materials_emissive_strength", "KHR_texture_transform"


@dataclass(frozen=True)
class Mapping:
    """Where a texture lies: a set of coordinates, and a matrix ``2 3`` on it (u, v, 1)."""

    set: int
    matrix: tuple[tuple[float, float, float], tuple[float, float, float]]

    def __call__(self, uv: Any) -> Floats:
        """Map glTF's coordinates ``... 2`` to ours, v upwards."""
        matrix = np.array(self.matrix)
        moved = uv @ matrix[:, :2].T + matrix[:, 2]
        return np.asarray(np.stack([moved[..., 0], 1 - moved[..., 1]], axis=-1), dtype=np.float32)


@dataclass(frozen=True)
class Layer:
    """A texture ``h w 4`` and where it lies."""

    texture: Bytes
    mapping: Mapping
    wrap: tuple[Wrap, Wrap]
    smooth: bool

    def lies_like(self, other: "Layer") -> bool:
        """Return whether the same coordinates lead to the same place in both."""
        return self.mapping == other.mapping and self.wrap == other.wrap


@dataclass(frozen=True)
class Look:
    """A material as read.

    Attributes:
        material: its texture, of 1 x 1 where it has none.
        mapping: where the texture lies; None where there is none.
        factor: what the base colour is multiplied by, linear, with alpha; it is in the texture already.
        emission: linear, of a material without textures; it is in the texture already.
        cutoff: alpha from which a corner's alpha counts as opaque; None where alpha does not count.
    """

    material: Material
    mapping: Mapping | None
    factor: Any
    emission: Any
    cutoff: float | None


class Materials:
    """Reads a document's materials, each once."""

    def __init__(self, document: gltf.Document, images: Images) -> None:
        self.document, self.images = document, images
        self.look: Callable[[int | None, bool], Look] = lru_cache(maxsize=None)(self._look)

    def _look(self, index: int | None, keeps_alpha: bool) -> Look:
        """Read a material; None is the standard's own, which is white. Where corners have alpha, its own is kept."""
        entry = gltf.Material() if index is None else self.document.get(gltf.Material, index)
        self.document.leave_out(entry, _SPECULAR, _UNLIT, _STRENGTH)
        factor, info = self._base(entry, index)
        emission, light_info = self._emission(entry, index)
        layer, light = self._layer(info), self._layer(light_info)
        name = entry.name if info is None else f"{entry.name} {self.images.file_name(info.index)}".strip()
        if layer is not None and light is not None and not layer.lies_like(light):
            note(
                "changed colours", f"material {name}: its light lies otherwise than its colour; its mean light instead"
            )
            light = replace(layer, texture=light.texture.mean((0, 1), keepdims=True).round().astype(np.uint8))
        base = _shaded(_WHITE if layer is None else layer.texture, factor, entry, name, keeps_alpha)
        if emission.any():
            base = emitting(base, _multiplied(_WHITE if light is None else light.texture, emission)[..., :3])
        shown = layer or light
        cutoff = {"OPAQUE": None, "MASK": entry.alpha_cutoff, "BLEND": 0.5}[entry.alpha_mode]
        material = Material(name, base, double_sided=entry.double_sided)
        if shown is not None:
            material = replace(material, wrap=shown.wrap, smooth=shown.smooth)
        return Look(material, None if shown is None else shown.mapping, factor, emission, cutoff)

    def untextured(self, look: Look) -> Look:
        """Return a look of the texture's mean colour, for parts that lack its coordinates."""
        mean = plain(np.append(look.material.colour, 1.0))
        return replace(look, material=replace(look.material, texture=mean), mapping=None)

    def _base(self, entry: gltf.Material, index: int | None) -> tuple[Any, gltf.TextureInfo | None]:
        """Base colour factor, linear with alpha, and texture: of metallic roughness wherever it has any."""
        physical = entry.pbr_metallic_roughness
        factor, info = physical.base_color_factor, physical.base_color_texture
        if factor is None and info is None and _SPECULAR in entry.extensions:
            where = f"materials[{index}].{_SPECULAR}"
            older = gltf.checked(gltf.SpecularGlossiness, entry.extensions[_SPECULAR], where)
            factor, info = older.diffuse_factor, older.diffuse_texture
        return np.clip(np.ones(4) if factor is None else np.array(factor), 0, 1), info

    def _emission(self, entry: gltf.Material, index: int | None) -> tuple[Any, gltf.TextureInfo | None]:
        if _UNLIT in entry.extensions:  # shows its base colour alone
            return np.zeros(3), None
        factor = np.maximum(entry.emissive_factor, 0)
        if _STRENGTH in entry.extensions:
            where = f"materials[{index}].{_STRENGTH}"
            factor = factor * gltf.checked(gltf.EmissiveStrength, entry.extensions[_STRENGTH], where).emissive_strength
        return factor, entry.emissive_texture if factor.any() else None

    def _layer(self, info: gltf.TextureInfo | None) -> Layer | None:
        """Read a texture and where it lies; None where there is none, or none that can be shown."""
        if info is None:
            return None
        self.document.leave_out(info, _TRANSFORM)
        texture = self.images.texture(info.index)
        if texture is None:
            return None
        moved = gltf.checked(gltf.TextureTransform, info.extensions.get(_TRANSFORM, {}), _TRANSFORM)
        cos, sin = float(np.cos(moved.rotation)), float(np.sin(moved.rotation))
        (across, down), (x, y) = moved.scale, moved.offset
        chosen = info.tex_coord if moved.tex_coord is None else moved.tex_coord
        mapping = Mapping(chosen, ((cos * across, sin * down, x), (-sin * across, cos * down, y)))
        return Layer(texture, mapping, *self.images.sampling(info.index))


def painted(look: Look, colours: Any) -> tuple[Look, Floats | None]:
    """Give a look the colours of its corners ``f 3 4``, linear: what is left to multiply it by, or None."""
    if look.cutoff is None:
        colours = np.concatenate([colours[..., :3], np.ones((*colours.shape[:2], 1))], axis=-1)
    if look.mapping is None and look.factor[3] == 1:
        material, factors = coloured(np.clip(colours * [*look.factor[:3], 1] + [*look.emission, 0], 0, 1))
        return replace(look, material=replace(look.material, texture=material.texture)), _cut(factors, look.cutoff)
    if look.emission.any():
        note("changed colours", f"material {look.material.name}: colours of its corners dim its light too")
    return look, _cut(np.asarray(colours, dtype=np.float32), look.cutoff)


def _cut(factors: Floats | None, cutoff: float | None) -> Floats | None:
    """Scale alpha so that a half of it is the material's cutoff."""
    if factors is None or cutoff is None or cutoff == 0.5:
        return factors
    scaled = factors.copy()
    scaled[..., 3] *= 0.5 / max(cutoff, 1e-3)
    return scaled


def _shaded(base: Bytes, factor: Any, entry: gltf.Material, name: str, keeps_alpha: bool) -> Bytes:
    """The base colour as a texture ``h w 4``, with alpha as the mode says: in MASK all or nothing, or still to cut."""
    if entry.alpha_mode == "BLEND":
        return _blended(base, factor, name)
    shown = _multiplied(base, factor[:3])
    alpha = np.full(base.shape[:2], 255, dtype=np.uint8)
    if entry.alpha_mode == "MASK":
        own = base[..., 3] / 255 * factor[3]
        alpha = to_bytes(own) if keeps_alpha else np.where(own < entry.alpha_cutoff, 0, 255).astype(np.uint8)
    return np.dstack([shown[..., :3], alpha])


def _blended(base: Bytes, factor: Any, name: str) -> Bytes:
    """What blends by its factor is glass: opaque and paler. What blends by its texture ends where it is half clear."""
    alpha = base[..., 3]
    if factor[3] < INVISIBLE or alpha.max() < 255 * INVISIBLE:
        return np.zeros((1, 1, 4), dtype=np.uint8)
    share = np.full(alpha.shape, factor[3])
    if alpha.max() <= 127:  # all of it is glass
        share, alpha = share * alpha / 255, np.where(alpha < 255 * INVISIBLE, 0, 255).astype(np.uint8)
    elif ((alpha > 25) & (alpha < 230)).mean() > _SEMI:
        note("changed colours", f"material {name}: half-clear texels are shown as clear or as opaque ones")
    colour = _multiplied(base, factor[:3])[..., :3]
    if (share < 1).any():
        colour = to_bytes(colour / 255 * share[..., None] + GLASS * (1 - share[..., None]))
    return np.dstack([colour, alpha])


def _multiplied(texture: Bytes, factor: Any) -> Bytes:
    """A texture's colours times linear factors (3,)."""
    if (factor == 1).all():
        return texture
    table = to_bytes(linear_to_srgb(np.clip(srgb_to_linear(np.arange(256) / 255)[:, None] * factor, 0, 1)))
    return np.dstack([*(table[texture[..., i], i] for i in range(3)), texture[..., 3]])
