"""The check of meshers: mesh a sphere whose size and colours are known."""

import numpy as np
import torch
from torch import Tensor

from tunemv3d_core.cameras import Cameras, intersect_sphere
from tunemv3d_core.plugins.registry import load_value
from tunemv3d_core.slots import Pictures, TexturedMesh
from tunemv3d_core.testing.check import Check, ConformanceError
from tunemv3d_core.testing.component import ComponentUnderTest

RADIUS, PIXELS = 0.5, 64
RED = (0.8, 0.2, 0.1)
TOLERANCE = 0.05
"""How far vertices may lie off the sphere, world units: a pixel of the views is 0.03."""


class RedSphere:
    """A sphere of one colour: its distance by formula, its pictures by intersecting every pixel's ray."""

    def signed_distance(self, points: Tensor) -> Tensor:
        """``1 p 3`` to ``1 p``."""
        distance: Tensor = points.norm(dim=-1) - RADIUS
        return distance

    def pictures(self, cameras: Cameras) -> Pictures:
        """Draw cameras ``m``."""
        rays = cameras.rays((PIXELS, PIXELS))
        alpha = torch.unflatten(intersect_sphere(rays, RADIUS)[2].float(), -1, (PIXELS, PIXELS))
        return Pictures(torch.tensor(RED)[:, None, None].expand(len(alpha), 3, PIXELS, PIXELS), alpha, cameras)


def check_meshes_a_sphere(subject: ComponentUnderTest) -> None:
    """A red sphere becomes a closed mesh near it, oriented outwards, with a red texture."""
    sphere = RedSphere()
    mesher = load_value(subject.plugin.build)(subject.spec)
    mesh: TexturedMesh = mesher(sphere, sphere.pictures(Cameras.orbit(8, elevation=20)), torch.device("cpu"))
    _check_arrays(mesh)
    off = np.abs(np.linalg.norm(mesh.vertices, axis=-1) - RADIUS).max()
    if off > TOLERANCE:
        raise ConformanceError(f"a vertex lies {off:.3f} off a sphere of radius {RADIUS}; at most {TOLERANCE} is asked")
    if not mesh.watertight:
        raise ConformanceError("the mesh of a sphere is not closed: every edge should belong to two faces")
    a, b, c = (mesh.vertices[mesh.faces[:, corner]].astype(np.float64) for corner in range(3))
    volume, true = float((a * np.cross(b, c)).sum() / 6), 4 / 3 * np.pi * RADIUS**3
    if abs(volume - true) > 0.1 * true:
        raise ConformanceError(f"the mesh holds {volume:.3f}, a sphere {true:.3f}; below 0, faces look inwards")
    if float((mesh.normals * mesh.vertices).sum(-1).min()) <= 0:
        raise ConformanceError("a vertex's normal looks inwards")
    centres = mesh.uv[mesh.uv_faces].mean(1)
    column, row = (centres * [1, -1] % 1 * (mesh.texture.shape[1], mesh.texture.shape[0])).astype(int).T
    error = np.abs(mesh.texture[row, column] / 255 - RED).mean()
    if error > 0.1:
        raise ConformanceError(f"the texture differs by {error:.2f} from the views' one colour; at most 0.1 is asked")


def _check_arrays(mesh: TexturedMesh) -> None:
    """Refuse arrays that are not of the shapes and types that ``TexturedMesh`` documents."""
    v, f, u = len(mesh.vertices), len(mesh.faces), len(mesh.uv)
    wanted = {
        "vertices": ((v, 3), np.float32),
        "faces": ((f, 3), np.int32),
        "normals": ((v, 3), np.float32),
        "colours": ((v, 3), np.uint8),
        "uv": ((u, 2), np.float32),
        "uv_vertices": ((u,), np.int32),
        "uv_faces": ((f, 3), np.int32),
        "texture": ((*mesh.texture.shape[:2], 3), np.uint8),
    }
    for name, (shape, dtype) in wanted.items():
        array = getattr(mesh, name)
        if array.shape != shape or array.dtype != dtype:
            raise ConformanceError(
                f"{name} has shape {array.shape} and type {array.dtype}; {shape} and {np.dtype(dtype)} are asked"
            )


CHECKS = (Check(check_meshes_a_sphere, ("discoverable",)),)
