"""The mesher ``marching-cubes``: from a shape and its views to a textured mesh, step by step."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from tunemv3d_core.agreement import disagreement
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import SampleError
from tunemv3d_core.slots import Pictures, Shape, TexturedMesh
from tunemv3d_shape.bake import bake, bake_vertices, vertex_normals
from tunemv3d_shape.cleaning import remove_floaters
from tunemv3d_shape.held_out import split
from tunemv3d_shape.silhouette_fit import fit_silhouettes
from tunemv3d_shape.simplify import simplify
from tunemv3d_shape.spec import MarchingCubesSpec
from tunemv3d_shape.surface import Triangles, extract_surface
from tunemv3d_shape.tracing import silhouette_iou
from tunemv3d_shape.unwrap import unwrap
from tunemv3d_shape.views import psnr

STAGES = ("agree with the masks", "simplify", "unwrap", "texture")

StageCallback = Callable[[str], object]
"""Called with each of ``STAGES`` when it begins."""


def _silent(stage: str) -> None:
    pass


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
        self, shape: Shape, views: Pictures, device: torch.device, on_stage: StageCallback = _silent
    ) -> tuple[TexturedMesh, Triangles]:
        """Mesh a shape; return the mesh with its figures, and the whole surface that it was simplified from.

        Raises:
            SampleError: the shape has no surface.
        """
        on_stage(STAGES[0])
        return self.texture(agreed_surface(shape, views, self.options.resolution, device), views, on_stage)

    def texture(
        self, agreed: "AgreedSurface", views: Pictures, on_stage: StageCallback = _silent
    ) -> tuple[TexturedMesh, Triangles]:
        """Mesh a surface that has been found; otherwise as ``mesh_whole``."""
        mesh = textured(agreed.surface, agreed.shape, views, self.options, on_stage)
        shown, iou = agreed.shape.pictures(views.cameras), silhouette_iou(mesh, split(views)[1])
        figures = {
            "silhouette_iou": round(iou, 4),
            "iou_as_generated": round(agreed.iou_as_generated, 4),
            "iou_corrected": None if agreed.iou_corrected is None else round(agreed.iou_corrected, 4),
            "views_psnr": None if shown is None else round(psnr(shown, views), 2),
        }
        notes = [*mesh.notes, *filter(None, [disagreement(iou)])]
        return replace(mesh, figures=figures, notes=tuple(notes)), agreed.surface


@dataclass(frozen=True)
class AgreedSurface:
    """A shape's surface, corrected by the views' masks or not.

    Attributes:
        shape: as chosen.
        surface: its zero level without floaters.
        iou_as_generated: of the uncorrected surface's silhouettes with the held-out masks; 0 without a surface.
        iou_corrected: of the corrected one's; None where there is a single view, which nothing can be fitted to.
        corrected: whether ``shape`` is the corrected one.
    """

    shape: Shape
    surface: Triangles
    iou_as_generated: float
    iou_corrected: float | None
    corrected: bool


def agreed_surface(shape: Shape, views: Pictures, resolution: int, device: torch.device | None = None) -> AgreedSurface:
    """Find a shape's surface; the masks correct it where views that they were not fitted to agree better then.

    Args:
        shape: of one object.
        views: of the object.
        resolution: cells along the grid's side.
        device: where to compute.

    Raises:
        SampleError: the shape has no surface, with the correction or without.
    """
    fitted, judges = split(views)
    if not len(fitted.alpha):
        surface = _whole(shape, resolution, device)
        return AgreedSurface(shape, surface, silhouette_iou(surface, judges), None, corrected=False)
    corrected = fit_silhouettes(shape, fitted, device)
    by_masks = _whole(corrected, resolution, device)
    iou_corrected = silhouette_iou(by_masks, judges)
    try:
        generated = _whole(shape, resolution, device)
    except SampleError:  # nowhere negative, but nearly so: the masks make a surface of it
        return AgreedSurface(corrected, by_masks, 0.0, iou_corrected, corrected=True)
    iou_as_generated = silhouette_iou(generated, judges)
    if iou_corrected > iou_as_generated:
        return AgreedSurface(corrected, by_masks, iou_as_generated, iou_corrected, corrected=True)
    return AgreedSurface(shape, generated, iou_as_generated, iou_corrected, corrected=False)


def _whole(shape: Shape, resolution: int, device: torch.device | None) -> Triangles:
    return remove_floaters(extract_surface(shape, resolution, device))


def build(spec: MarchingCubesSpec) -> MarchingCubes:
    """Build the mesher."""
    return MarchingCubes(spec)


def textured(
    whole: Triangles, shape: Shape, views: Pictures, options: MarchingCubesSpec, on_stage: StageCallback = _silent
) -> TexturedMesh:
    """Simplify a surface, unwrap it, and colour it from views.

    Args:
        whole: the surface.
        shape: whose surface it is; gives colours where no view sees it.
        views: of the object.
        options: how fine.
        on_stage: called with each of ``STAGES`` from the second on.

    Raises:
        SampleError: the texture has no room for its triangles.
    """
    on_stage(STAGES[1])
    surface = simplify(whole, options.faces)
    notes = []
    if len(surface.faces) > options.faces:
        notes.append(
            f"{len(surface.faces)} triangles instead of {options.faces}: the surface cannot be simplified further"
        )
    on_stage(STAGES[2])
    unwrapped, told = unwrap(surface, options.texture, options.unwrap_seconds)
    notes += [told] if told else []
    on_stage(STAGES[3])
    unseen = shape.pictures(from_above_and_below(views.size))
    sources = [views] if unseen is None else [views, unseen]
    return TexturedMesh(
        surface.vertices,
        surface.faces,
        vertex_normals(surface),
        bake_vertices(surface, sources),
        unwrapped.uv,
        unwrapped.original,
        unwrapped.faces,
        bake(unwrapped, surface, sources, options.texture),
        notes=tuple(notes),
    )


def from_above_and_below(size: tuple[int, int]) -> Cameras:
    """Place eight cameras where an orbit does not look, for pictures of ``size`` (H, W)."""
    aspect = size[1] / size[0]
    below, above = Cameras.orbit(4, elevation=-40, aspect=aspect), Cameras.orbit(4, 60, azimuth=45, aspect=aspect)
    return Cameras.cat([below, above])
