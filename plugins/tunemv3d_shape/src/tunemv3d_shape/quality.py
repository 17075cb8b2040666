"""How good a surface is: smooth, manifold, and like the views that nothing was fitted to."""

from dataclasses import asdict, dataclass

import numpy as np
import torch

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.slots import Pictures
from tunemv3d_shape.bake import Colours, bake_vertices, vertex_normals
from tunemv3d_shape.surface import Floats, Mask, Triangles
from tunemv3d_shape.tracing import Tracer, silhouette_iou
from tunemv3d_shape.views import psnr

GAIN = 0.1
"""Least gain in PSNR of held-out views for which a surface is changed, dB."""

ROUGHER = 1.25
"""Factor by which the mean angle between faces may grow with it."""

LOOSE = 10
"""Non-manifold edges that a surface may have, if it did not have more before."""


@dataclass(frozen=True)
class Quality:
    """Figures of a surface.

    Attributes:
        psnr: of its pictures at held-out cameras, coloured from the other views, on white, dB.
        silhouette_iou: of its silhouettes with the held-out masks.
        mean_angle: mean angle between neighbouring faces, weighted by the length of their edge, degrees.
        non_manifold_edges: edges that do not belong to exactly two faces.
        faces: triangles.
    """

    psnr: float
    silhouette_iou: float
    mean_angle: float
    non_manifold_edges: int
    faces: int

    def rounded(self) -> dict[str, float]:
        """Return the figures for people and files."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


def measure(surface: Triangles, fitted: Pictures, held_out: Pictures) -> Quality:
    """Measure a surface.

    Args:
        surface: simplified as it will be delivered, because the mean angle depends on how fine it is.
        fitted: views that give it its colours.
        held_out: views that judge it.
    """
    seen = pictures_of(surface, bake_vertices(surface, [fitted]), held_out.cameras, held_out.size)
    return Quality(
        psnr(seen, held_out),
        silhouette_iou(surface, held_out),
        mean_angle(surface),
        non_manifold_edges(surface),
        len(surface.faces),
    )


def objections(before: Quality, after: Quality) -> list[str]:
    """Say why a surface should stay as it was; nothing where the changed one is better."""
    found = []
    if after.psnr < before.psnr + GAIN:
        found.append(f"PSNR of held-out views {before.psnr:.2f} to {after.psnr:.2f} dB, {GAIN} dB more are asked for")
    if after.mean_angle > ROUGHER * before.mean_angle:
        angles = f"{before.mean_angle:.1f} to {after.mean_angle:.1f} degrees"
        found.append(f"mean angle between faces {angles}, at most {ROUGHER} times as much is allowed")
    if after.non_manifold_edges > max(LOOSE, before.non_manifold_edges):
        found.append(f"non-manifold edges {before.non_manifold_edges} to {after.non_manifold_edges}")
    return found


def mean_angle(surface: Triangles) -> float:
    """Mean angle between faces that share an edge, weighted by its length, degrees: 0 for a plane."""
    a, b, c = (surface.vertices[surface.faces[:, corner]].astype(np.float64) for corner in range(3))
    normals = np.cross(b - a, c - a)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-20)
    edges, faces = _edges(surface)
    same = np.nonzero((edges[1:] == edges[:-1]).all(1))[0]
    ends = surface.vertices[edges[same]].astype(np.float64)
    lengths = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=-1)
    cosines = (normals[faces[same]] * normals[faces[same + 1]]).sum(-1).clip(-1, 1)
    return float(np.degrees((np.arccos(cosines) * lengths).sum() / max(lengths.sum(), 1e-20)))


def non_manifold_edges(surface: Triangles) -> int:
    """Count the edges that do not belong to exactly two faces."""
    return int((np.unique(_edges(surface)[0], axis=0, return_counts=True)[1] != 2).sum())


def pictures_of(surface: Triangles, colours: Colours, cameras: Cameras, size: tuple[int, int]) -> Pictures:
    """Render a surface with colours at its vertices, unlit, from cameras ``n``."""
    tracer = Tracer(surface.vertices, surface.faces)
    shown = [
        _attributes(tracer, surface, np.asarray(colours / 255, dtype=np.float32), cameras[i], size)
        for i in range(len(cameras.origins))
    ]
    pixels = torch.from_numpy(np.stack([values for values, _ in shown])).movedim(-1, 1)
    return Pictures(pixels, torch.from_numpy(np.stack([hit for _, hit in shown])).float(), cameras)


def normal_pictures(surface: Triangles, cameras: Cameras, size: tuple[int, int]) -> Pictures:
    """Render a bare surface, lit from the cameras ``n``."""
    tracer, normals = Tracer(surface.vertices, surface.faces), vertex_normals(surface)
    greys, hits = [], []
    for i in range(len(cameras.origins)):
        seen, hit = _attributes(tracer, surface, normals, cameras[i], size)
        light = -(seen * cameras[i].camera_to_world[:3, 2].numpy()).sum(-1, keepdims=True)
        greys.append(np.broadcast_to(0.25 + 0.7 * light.clip(0, 1), seen.shape))
        hits.append(hit)
    pixels = torch.from_numpy(np.stack(greys).astype(np.float32)).movedim(-1, 1)
    return Pictures(pixels, torch.from_numpy(np.stack(hits)).float(), cameras)


def _attributes(
    tracer: Tracer, surface: Triangles, values: Floats, camera: Cameras, size: tuple[int, int]
) -> tuple[Floats, Mask]:
    """Values of vertices ``v 3`` as a camera sees them, ``H W 3``, and where it sees the surface, ``H W``."""
    rays = camera.to("cpu").rays(size)
    face, weights = tracer.places(*(z.float().numpy() for z in (rays.origins, rays.directions)))
    mixed = (values[surface.faces[face]] * weights[..., None]).sum(1)
    hit = face >= 0
    return np.where(hit[:, None], mixed, 1.0).astype(np.float32).reshape(*size, 3), hit.reshape(size)


def _edges(surface: Triangles) -> tuple[np.ndarray, np.ndarray]:
    """Edges ``3f 2`` of all faces, sorted so that equal ones lie side by side, and their faces ``3f``."""
    edges = np.sort(surface.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    order = np.lexsort(edges.T)
    return edges[order], np.repeat(np.arange(len(surface.faces)), 3)[order]
