"""Appearance of an object, measured on its rendered pictures: colours, where they lie, materials."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tunemv3d_core.cameras import Cameras
from tunemv3d_data.captions.names import material as material_word
from tunemv3d_data.captions.vocabulary import Vocabulary, load_vocabulary
from tunemv3d_data.colours import COLOURS, colour_names
from tunemv3d_data.meshes.mesh import Mesh

SECOND_SHARE = 0.12
"""A further colour is named from this share of the visible surface on."""


@dataclass(frozen=True)
class Appearance:
    """Appearance of one object over all its pictures.

    Attributes:
        main: the colour with the largest visible share.
        second: the next one, None where it is too small to name.
        second_height: mean height of the second colour, 0 at the object's foot and 1 at its top.
        second_spread: standard deviation of these heights; small for a flat part such as a seat.
        material, second_material: words such as "wooden", or None where no name tells.
        cover: mean share of the picture that the object covers.
    """

    main: str
    second: str | None
    second_height: float
    second_spread: float
    material: str | None
    second_material: str | None
    cover: float


def measure(
    views: Sequence[dict[str, Any]],
    cameras: Cameras,
    mesh: Mesh,
    keep_names: bool = True,
    vocabulary: Vocabulary | None = None,
) -> Appearance:
    """Measure colours, their places and materials over all views.

    Colours are those of the surface as lit on average: shading alone must not split one paint into two names.

    Args:
        views: as a mesh renderer yields them, with ``albedo`` and ``material``.
        cameras: theirs, shape ``(n,)``.
        mesh: the mesh seen.
        keep_names: False where materials were recoloured, so that an orange plank is not called wooden.
        vocabulary: what materials' names mean; None: the packaged one.
    """
    vocabulary = vocabulary or load_vocabulary()
    alpha = np.stack([view["rgba"][..., 3] for view in views])
    solid = alpha > 200
    cover = float(alpha.mean() / 255)
    if not solid.any():
        return Appearance("grey", None, 0.5, 1.0, None, None, cover)
    rgb = np.stack([view["rgba"][..., :3] for view in views])[solid].astype(np.float64)
    albedo = np.stack([view["albedo"] for view in views])[solid].astype(np.float64)
    material = np.stack([view["material"] for view in views])[solid]
    light = rgb.sum() / max(albedo.sum(), 1.0)
    names = colour_names(np.minimum(albedo * light, 255).astype(np.uint8))
    shares = np.bincount(names, minlength=len(COLOURS)) / len(names)
    main, second = (int(i) for i in np.argsort(-shares, kind="stable")[:2])
    words = [material_word(m.name, vocabulary) if keep_names else None for m in mesh.materials]
    has_second = shares[second] >= SECOND_SHARE
    heights = _heights(views, cameras)[solid]
    return Appearance(
        main=list(COLOURS)[main],
        second=list(COLOURS)[second] if has_second else None,
        second_height=float(heights[names == second].mean()) if has_second else 0.5,
        second_spread=float(heights[names == second].std()) if has_second else 1.0,
        material=_commonest(words, material[names == main]),
        second_material=_commonest(words, material[names == second]) if has_second else None,
        cover=cover,
    )


def _commonest(words: list[str | None], materials: Any) -> str | None:
    counts = np.bincount(materials, minlength=len(words))
    return words[int(counts.argmax())] if len(words) else None


def _heights(views: Sequence[dict[str, Any]], cameras: Cameras) -> Any:
    """Height of every pixel's surface point, 0 to 1 over the object, ``n h w``."""
    depth = np.stack([view["depth"] for view in views])
    rays = cameras.rays((depth.shape[1], depth.shape[2]))
    z = rays.origins[..., 2].numpy() + rays.directions[..., 2].numpy() * depth.reshape(len(depth), -1)
    z = z.reshape(depth.shape)
    seen = z[depth > 0]
    low, high = np.percentile(seen, [0.5, 99.5]) if len(seen) else (0.0, 1.0)
    return np.clip((z - low) / max(high - low, 1e-6), 0, 1)
