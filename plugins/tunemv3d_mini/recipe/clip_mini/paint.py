"""Further training objects: the one-coloured chairs again with legs of another colour, painted into their pictures.

Few of the rendered variants differ in colour between body and legs, but prompts do ("a red chair with yellow legs").
"""

import random
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from clip_mini.pack import Rendered
from clip_mini.texts import NONE
from tunemv3d_core.viz.colour_words import PALETTE

LEGS = {
    "chair": 0.38,
    "armchair": 0.2,
    "bar stool": 0.5,
    "stool": 0.5,
    "office chair": 0.32,
    "school chair": 0.4,
    "children's chair": 0.4,
    "high chair": 0.5,
    "folding chair": 0.4,
}
"""Types that stand on legs, and which share of their height, from below, is painted."""
LOW = 30.0
"""Elevation in degrees up to which the lower part of a picture is the lower part of the object."""
GROUND = 0.95
"""Pixels whose darkest channel is above this are white ground: no rendered surface is lighter than 0.92."""


def painted_legs(objects: Sequence[Rendered], pictures: Tensor, copies: int = 2) -> tuple[list[Rendered], Tensor]:
    """Return ``copies`` of every one-coloured chair with painted legs, and their pictures.

    Args:
        objects: as rendered.
        pictures: theirs, ``objects views 3 H W`` uint8 over white.
        copies: how many of each, each in another colour.
    """
    made, shown = [], []
    for each, views in zip(objects, pictures, strict=True):
        low = [k for k, elevation in enumerate(each.elevations) if elevation <= LOW]
        told = each.attributes
        if told.type not in LEGS or not low:
            continue
        if told.second != NONE and told.part not in ("legs", "base"):
            continue
        draw = random.Random(each.id)
        for colour in draw.sample([word for word in PALETTE if word != told.main], copies):
            part = "base" if told.type == "office chair" else "legs"
            made.append(replace(each, attributes=replace(told, second=colour, part=part, material=NONE)))
            repeated = torch.tensor([low[k % len(low)] for k in range(len(views))])
            shown.append(paint(views[repeated], colour, LEGS[told.type] * draw.uniform(0.85, 1.15)))
    return made, torch.stack(shown) if shown else pictures[:0]


def paint(views: Tensor, colour: str, share: float) -> Tensor:
    """Paint the lowest ``share`` of what views ``n 3 H W`` (uint8) show, keeping light and shade."""
    image = views.float() / 255
    solid = image.amin(1, keepdim=True) < GROUND
    rows = torch.arange(image.shape[-2])[:, None]
    seen = solid.any(-1, keepdim=True)
    bottom = torch.where(seen, rows, -1).amax(-2, keepdim=True)
    top = torch.where(seen, rows, image.shape[-2]).amin(-2, keepdim=True)
    legs = solid & (rows > bottom - share * (bottom - top))
    light = image.mean(1, keepdim=True)
    usual = (light * legs).sum((2, 3), keepdim=True) / legs.sum((2, 3), keepdim=True).clamp(min=1)
    shade = torch.tensor(list(bytes.fromhex(PALETTE[colour][0])))[:, None, None] / 255
    painted = (shade * (0.5 + 0.5 * light / usual.clamp(min=0.05))).clamp(0, 0.92)
    return (torch.where(legs, painted, image) * 255).round().byte()
