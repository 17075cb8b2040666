"""From a shape and its pictures to a textured mesh, step by step."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from tunemv3d_core.cameras import Cameras
from tunemv3d_shape.bake import bake, bake_vertices
from tunemv3d_shape.cleaning import remove_floaters
from tunemv3d_shape.export import TexturedMesh
from tunemv3d_shape.shapes import Shape
from tunemv3d_shape.simplify import simplify
from tunemv3d_shape.surface import Surface, extract_surface
from tunemv3d_shape.unwrap import unwrap
from tunemv3d_shape.views import Pictures

STAGES = ("surface", "simpler", "unwrapped", "textured")


@dataclass(frozen=True)
class MeshOptions:
    """How fine a mesh is.

    Attributes:
        resolution: cells along the side of the grid.
        faces: at most so many.
        texture: texels along a side.
    """

    resolution: int = 256
    faces: int = 20000
    texture: int = 1024


def make_mesh(
    shape: Shape,
    pictures: Pictures,
    options: MeshOptions,
    device: torch.device | None = None,
    on_stage: Callable[[str], object] = lambda stage: None,
) -> tuple[TexturedMesh, Surface]:
    """The textured mesh, and the whole surface that it was simplified from.

    Args:
        shape: of one object.
        pictures: its views.
        options: how fine.
        device: where the shape computes.
        on_stage: told each of ``STAGES`` once it is done.

    Raises:
        SampleError: the shape has no surface.
    """
    whole = remove_floaters(extract_surface(shape, options.resolution, device))
    on_stage("surface")
    surface = simplify(whole, options.faces)
    on_stage("simpler")
    unwrapped = unwrap(surface, options.texture)
    on_stage("unwrapped")
    unseen = shape.pictures(from_above_and_below())
    sources = [pictures] if unseen is None else [pictures, unseen]
    mesh = TexturedMesh(
        surface, unwrapped, bake(unwrapped, surface, sources, options.texture), bake_vertices(surface, sources)
    )
    on_stage("textured")
    return mesh, whole


def from_above_and_below() -> Cameras:
    """Where an orbit of cameras does not look: eight cameras."""
    return Cameras.cat([Cameras.orbit(4, elevation=-40), Cameras.orbit(4, elevation=60, azimuth=45)])
