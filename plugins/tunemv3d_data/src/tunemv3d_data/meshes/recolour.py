"""Training variants: whole materials in other colours and other proportions, made in the mesh before rendering.

A variant is drawn from the object's id and its number alone, so a rerun makes the same bytes.
"""

import re
from dataclasses import replace
from typing import Any

import numpy as np

from tunemv3d_data.colours import COLOURS, colour_name
from tunemv3d_data.meshes.materials import Material
from tunemv3d_data.meshes.mesh import Floats, Mesh
from tunemv3d_data.meshes.textures import Bytes
from tunemv3d_data.objects import SourceObject
from tunemv3d_data.seeding import random_for

STRETCH = (0.85, 1.2)
_QUIET = ("brown", "black", "white", "grey", "beige")
_PLAIN_SHARE, _QUIET_SHARE = 0.35, 0.65
_SAME_PAINT = 0.12
_NATURAL = re.compile(
    r"\b(plant|tree|flowers?|food|hedge|bush|rock|lily|orchids|cactus|bamboo|human|animal|characters)\b", re.IGNORECASE
)


def variant(mesh: Mesh, name: str, number: int, recolour: bool = True) -> Mesh:
    """Make variant ``number`` (from 1) of the object ``name``: stretched along each axis and, by default, repainted.

    The first variants of one object go through all colours in a drawn order, so every colour is equally frequent.
    """
    random = random_for(name, "variant", number)
    stretched = mesh.stretched(tuple(float(v) for v in random.uniform(*STRETCH, 3)))  # type: ignore[arg-type]
    if not recolour:
        return stretched
    order = random_for(name, "colours").permutation(len(COLOURS))
    main = list(COLOURS)[order[(number - 1) % len(order)]]
    return repaint(stretched, main, random)


def repaint(mesh: Mesh, main: str, random: np.random.Generator) -> Mesh:
    """Paint the materials that look like the largest one in ``main``, and each further group in a colour of its own.

    One object in three is painted in one colour whole; otherwise the second group is mostly wood, black, white or grey.
    """
    groups = _groups(mesh)
    others = [name for name in COLOURS if name != main]
    plain = random.random() < _PLAIN_SHARE
    paints = []
    for rank in range(len(groups)):
        quiet = [name for name in _QUIET if name != main]
        other = str(random.choice(quiet if random.random() < _QUIET_SHARE else others))
        paints.append(main if rank == 0 or plain else other)
    materials = list(mesh.materials)
    for group, paint in zip(groups, paints, strict=True):
        target = _shade_of(paint, random)
        for index in group:
            materials[index] = painted(materials[index], target)
    return replace(mesh, materials=tuple(materials), colours=_bleached(mesh))


def painted(material: Material, colour: tuple[float, float, float]) -> Material:
    """Paint the material in ``colour`` (sRGB, 0 to 255), its texture kept as lighter and darker places."""
    texture = material.texture.astype(np.float64)
    light = texture[..., :3] @ np.array([0.299, 0.587, 0.114]) + 8
    opaque = texture[..., 3] > 127
    mean = float(light[opaque].mean()) if opaque.any() else float(light.mean())
    contrast = np.clip((light / mean) ** 0.7, 0.5, 1.4)
    rgb = np.asarray(colour) * (contrast / contrast[opaque].mean() if opaque.any() else contrast)[..., None]
    return replace(material, texture=_bytes(np.concatenate([rgb, texture[..., 3:]], axis=-1)))


def _bleached(mesh: Mesh) -> Floats | None:
    """The corners' factors without their hue: lighter and darker places of the paint, around its own lightness."""
    if mesh.colours is None:
        return None
    light = mesh.colours[..., :3] @ np.array([0.2126, 0.7152, 0.0722], dtype=np.float32) + np.float32(0.03)
    areas = np.repeat(mesh.areas(), 3)
    material = np.repeat(mesh.material, 3)
    mean = np.bincount(material, areas * light.reshape(-1)) / np.maximum(np.bincount(material, areas), 1e-12)
    contrast = np.clip(light / mean[mesh.material].astype(np.float32)[:, None], 0.3, 2.0)
    return np.concatenate([np.repeat(contrast[..., None], 3, axis=-1), mesh.colours[..., 3:]], axis=-1)


def _groups(mesh: Mesh) -> list[list[int]]:
    """Materials that look alike, the group with the largest surface first."""
    areas = np.bincount(mesh.material, mesh.areas(), minlength=len(mesh.materials))
    groups: list[list[int]] = []
    for index in np.argsort(-areas, kind="stable"):
        colour = mesh.materials[index].colour
        for group in groups:
            if np.abs(mesh.materials[group[0]].colour - colour).max() < _SAME_PAINT:
                group.append(int(index))
                break
        else:
            groups.append([int(index)])
    return sorted(groups, key=lambda group: -areas[group].sum())


def _shade_of(name: str, random: np.random.Generator) -> tuple[float, float, float]:
    """A colour near the named one that still bears its name."""
    base = np.array(COLOURS[name], dtype=np.float64)
    for _ in range(8):
        rgb = np.clip(base * random.uniform(0.85, 1.12) + random.normal(0, 9, 3), 4, 250)
        if colour_name(rgb) == name:
            return tuple(float(v) for v in rgb)  # type: ignore[return-value]
    return tuple(float(v) for v in base)  # type: ignore[return-value]


def _bytes(values: Any) -> Bytes:
    return np.asarray(np.clip(np.rint(values), 0, 255), dtype=np.uint8)


def is_paintable(source: SourceObject) -> bool:
    """Return whether other colours make sense: not for people, animals, plants and food, which are only stretched."""
    return not _NATURAL.search(" ".join((source.name, *source.tags, source.category)))
