"""A shape before and after its refinement: measured by views that nothing was fitted to, and shown side by side."""

from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.generation import ELEVATION
from tunemv3d_core.slots import Pictures, Shape
from tunemv3d_core.viz.pictures import to_pil
from tunemv3d_shape.bake import bake_vertices
from tunemv3d_shape.generate import AgreedSurface, agreed_surface
from tunemv3d_shape.held_out import split
from tunemv3d_shape.quality import Quality, measure, normal_pictures, pictures_of
from tunemv3d_shape.simplify import simplify
from tunemv3d_shape.spec import MarchingCubesSpec
from tunemv3d_shape.surface import Triangles

FRAMES = 36
"""Views of a turntable, ten degrees apart."""

LARGE = 256
"""Least side of the pictures that people look at, pixels."""


@dataclass(frozen=True)
class Candidate:
    """One of the two surfaces between which a refinement chooses.

    Attributes:
        agreed: the surface as it was found.
        surface: the same, simplified.
        quality: its figures.
    """

    agreed: AgreedSurface
    surface: Triangles
    quality: Quality


def candidate(shape: Shape, views: Pictures, options: MarchingCubesSpec, device: torch.device) -> Candidate:
    """Find and measure a shape's surface.

    Raises:
        SampleError: it has none.
    """
    agreed = agreed_surface(shape, views, options.resolution, device)
    surface = simplify(agreed.surface, options.faces)
    return Candidate(agreed, surface, measure(surface, *split(views)))


def comparison(before: Candidate, after: Candidate, views: Pictures) -> Image.Image:
    """Draw the held-out views; below them both surfaces, coloured from the other views and bare, before and after."""
    _, judges = split(views)
    size = _large(views.size)
    given = interpolate(judges.on_white(), size, mode="bilinear")
    drawn = [_drawn(side, views, judges.cameras, size) for side in (before, after)]
    rows = [given, *(rows[kind] for kind in (0, 1) for rows in drawn)]
    return to_pil(torch.cat([torch.cat(list(row), dim=-1) for row in rows], dim=-2))


def turntable(before: Candidate, after: Candidate, views: Pictures) -> list[Image.Image]:
    """Draw one turn around both surfaces: before on the left, after on the right, coloured above and bare below."""
    size = _large(views.size)
    cameras = Cameras.orbit(FRAMES, elevation=ELEVATION, aspect=size[1] / size[0])
    sides = [torch.cat(_drawn(side, views, cameras, size), dim=-2) for side in (before, after)]
    return [to_pil(frame) for frame in torch.cat(sides, dim=-1)]


def _drawn(side: Candidate, views: Pictures, cameras: Cameras, size: tuple[int, int]) -> list[Tensor]:
    """Two pictures per camera, on white, ``m 3 H W``: coloured and bare."""
    colours = bake_vertices(side.surface, [split(views)[0]])
    coloured = pictures_of(side.surface, colours, cameras, size)
    return [coloured.on_white(), normal_pictures(side.surface, cameras, size).on_white()]


def _large(size: tuple[int, int]) -> tuple[int, int]:
    factor = -(-LARGE // min(size))
    return size[0] * factor, size[1] * factor
