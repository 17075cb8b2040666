"""The mesher ``marching-cubes``: from a shape and its views to a textured mesh, step by step."""

from collections.abc import Callable
from dataclasses import replace

import torch

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.slots import Pictures, Shape, TexturedMesh
from tunemv3d_shape.bake import bake, bake_vertices, vertex_normals
from tunemv3d_shape.cleaning import remove_floaters
from tunemv3d_shape.silhouette_fit import fit_silhouettes
from tunemv3d_shape.simplify import simplify
from tunemv3d_shape.spec import MarchingCubesSpec
from tunemv3d_shape.surface import Triangles, extract_surface
from tunemv3d_shape.tracing import silhouette_iou
from tunemv3d_shape.unwrap import unwrap
from tunemv3d_shape.views import psnr

STAGES = ("silhouettes", "surface", "simpler", "unwrapped", "textured")

StageCallback = Callable[[str], object]
"""Called with each of ``STAGES`` once it is done."""


class MarchingCubes:
    """Makes textured meshes.

    Args:
        options: how fine they are.
    """

    def __init__(self, options: MarchingCubesSpec) -> None:
        self.options = options

    def __call__(self, shape: Shape, views: Pictures, device: torch.device) -> TexturedMesh:
        """See ``tunemv3d_core.slots.Mesher``."""
        return self.mesh_whole(shape, views, device)[0]

    def mesh_whole(
        self, shape: Shape, views: Pictures, device: torch.device, on_stage: StageCallback = lambda stage: None
    ) -> tuple[TexturedMesh, Triangles]:
        """Mesh a shape; return the mesh with its figures, and the whole surface that it was simplified from.

        Raises:
            SampleError: the shape has no surface.
        """
        fitted = fit_silhouettes(shape, views, device)
        on_stage("silhouettes")
        mesh, whole = make_mesh(fitted, views, self.options, device, on_stage)
        shown = shape.pictures(views.cameras)
        figures = {
            "silhouette_iou": round(silhouette_iou(mesh, views), 4),
            "views_psnr": None if shown is None else round(psnr(shown, views), 2),
        }
        return replace(mesh, figures=figures), whole


def build(spec: MarchingCubesSpec) -> MarchingCubes:
    """Build the mesher."""
    return MarchingCubes(spec)


def make_mesh(
    shape: Shape,
    views: Pictures,
    options: MarchingCubesSpec,
    device: torch.device | None = None,
    on_stage: StageCallback = lambda stage: None,
) -> tuple[TexturedMesh, Triangles]:
    """Mesh a shape's zero level as it is; return the mesh, and the whole surface that it was simplified from.

    Args:
        shape: of one object.
        views: of the object.
        options: how fine.
        device: where the shape computes.
        on_stage: called with each of ``STAGES`` from the second on.

    Raises:
        SampleError: the shape has no surface.
    """
    whole = remove_floaters(extract_surface(shape, options.resolution, device))
    on_stage("surface")
    surface = simplify(whole, options.faces)
    on_stage("simpler")
    unwrapped = unwrap(surface, options.texture)
    on_stage("unwrapped")
    unseen = shape.pictures(from_above_and_below(views.size))
    sources = [views] if unseen is None else [views, unseen]
    mesh = TexturedMesh(
        surface.vertices,
        surface.faces,
        vertex_normals(surface),
        bake_vertices(surface, sources),
        unwrapped.uv,
        unwrapped.original,
        unwrapped.faces,
        bake(unwrapped, surface, sources, options.texture),
    )
    on_stage("textured")
    return mesh, whole


def from_above_and_below(size: tuple[int, int]) -> Cameras:
    """Place eight cameras where an orbit does not look, for pictures of ``size`` (H, W)."""
    aspect = size[1] / size[0]
    below, above = Cameras.orbit(4, elevation=-40, aspect=aspect), Cameras.orbit(4, 60, azimuth=45, aspect=aspect)
    return Cameras.cat([below, above])
