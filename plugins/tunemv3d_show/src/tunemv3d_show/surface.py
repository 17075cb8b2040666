"""A scene's surface as triangles, coarse and quick."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.measure import marching_cubes

from tunemv3d_core.slots import HasSurface


@dataclass(frozen=True)
class PreviewMesh:
    """Triangles in the world.

    Attributes:
        vertices: ``v 3``, world units.
        faces: ``f 3``, indices of vertices, counter-clockwise from outside.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int64]


@torch.no_grad()
def extract(scene: HasSurface, resolution: int, device: torch.device) -> PreviewMesh | None:
    """The surface inside the unit sphere, or None where there is none.

    Args:
        scene: a batch of one.
        resolution: points along a side of the cube around the unit sphere.
        device: where the scene is.
    """
    axis = torch.linspace(-1, 1, resolution)
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(1, -1, 3)
    distance = scene.signed_distance(points.to(device))[0].float().cpu()
    # Objects lie in the unit sphere; outside it the field was never asked.
    outside = points[0].norm(dim=-1) - 0.99
    grid = torch.maximum(distance, outside).reshape(resolution, resolution, resolution).numpy()
    if not grid.min() < 0 < grid.max():
        return None
    spacing = (2 / (resolution - 1),) * 3
    vertices, faces, _, _ = marching_cubes(grid, 0.0, spacing=spacing)
    return PreviewMesh((vertices - 1).astype(np.float32), faces.astype(np.int64))
