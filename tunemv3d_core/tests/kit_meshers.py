"""Meshers for the tests of the kit: one that passes it, and copies that break one promise each."""

from dataclasses import replace

import numpy as np
import torch
import trimesh

from tunemv3d_core.slots import Pictures, Shape, TexturedMesh


class Star:
    """Meshes what every ray from the origin leaves once: a ball's vertices moved to the zero level by bisection."""

    def __call__(self, shape: Shape, views: Pictures, device: torch.device) -> TexturedMesh:
        ball = trimesh.creation.icosphere(3)
        directions = torch.tensor(ball.vertices, dtype=torch.float32, device=device)
        low, high = torch.zeros(len(directions), 1), torch.ones(len(directions), 1)
        for _ in range(20):
            middle = (low + high) / 2
            inside = shape.signed_distance((middle * directions)[None])[0, :, None] < 0
            low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
        mean = (views.colours * views.alpha[:, None]).sum((0, 2, 3)) / views.alpha.sum()
        colour = (mean * 255).round().byte().numpy()
        vertices, faces = (low * directions).numpy(), ball.faces.astype(np.int32)
        return TexturedMesh(
            vertices=vertices,
            faces=faces,
            normals=directions.numpy(),
            colours=np.tile(colour, (len(vertices), 1)),
            uv=np.full((len(vertices), 2), 0.5, np.float32),
            uv_vertices=np.arange(len(vertices), dtype=np.int32),
            uv_faces=faces,
            texture=np.tile(colour, (4, 4, 1)),
        )


class TurnsFaces(Star):
    """Faces look inwards."""

    def __call__(self, shape: Shape, views: Pictures, device: torch.device) -> TexturedMesh:
        mesh = super().__call__(shape, views, device)
        return replace(mesh, faces=mesh.faces[:, ::-1], uv_faces=mesh.uv_faces[:, ::-1])


class LeavesAHole(Star):
    """A face is missing."""

    def __call__(self, shape: Shape, views: Pictures, device: torch.device) -> TexturedMesh:
        mesh = super().__call__(shape, views, device)
        return replace(mesh, faces=mesh.faces[1:], uv_faces=mesh.uv_faces[1:])


class SwapsRedAndBlue(Star):
    """Colours are stored as blue, green, red."""

    def __call__(self, shape: Shape, views: Pictures, device: torch.device) -> TexturedMesh:
        mesh = super().__call__(shape, views, device)
        return replace(mesh, texture=mesh.texture[..., ::-1])


class Shrinks(Star):
    """A tenth too small, as by a level that is not zero."""

    def __call__(self, shape: Shape, views: Pictures, device: torch.device) -> TexturedMesh:
        mesh = super().__call__(shape, views, device)
        return replace(mesh, vertices=mesh.vertices * np.float32(0.9))
