"""Meshers for the tests of the kit: one that passes it, and copies that break one promise each."""

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
import trimesh

from tunemv3d_core.errors import SampleError
from tunemv3d_core.slots import Pictures, Shape, TexturedMesh
from tunemv3d_core.testing.painted import SPHERE


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
        vertices, faces = (low * directions).numpy(), ball.faces.astype(np.int32)
        if bool((low == 0).any() | (high == 1).any()):
            raise SampleError("the shape has no surface around the origin")
        texels = self.colours(views, torch.from_numpy(vertices[faces].mean(1)))
        side = -(-len(faces) // 32)
        texture = np.zeros((side, 32, 3), np.uint8)
        texture.reshape(-1, 3)[: len(faces)] = texels
        place = np.arange(3 * len(faces)) // 3
        uv = np.stack([(place % 32 + 0.5) / 32, 1 - (place // 32 + 0.5) / side], axis=-1).astype(np.float32)
        return TexturedMesh(
            vertices=vertices,
            faces=faces,
            normals=self.normals(shape, torch.from_numpy(vertices)),
            colours=self.colours(views, torch.from_numpy(vertices)),
            uv=uv,
            uv_vertices=faces.flatten(),
            uv_faces=np.arange(3 * len(faces), dtype=np.int32).reshape(-1, 3),
            texture=texture,
        )

    def normals(self, shape: Shape, points: torch.Tensor) -> np.ndarray:
        steps = 0.01 * torch.eye(3)
        ahead, behind = (shape.signed_distance((points[:, None] + s * steps).reshape(1, -1, 3)) for s in (1, -1))
        return F.normalize((ahead - behind).reshape(-1, 3), dim=-1).numpy()

    def colours(self, views: Pictures, points: torch.Tensor) -> np.ndarray:
        """Those of the pixel in the view that stands nearest."""
        nearest = (views.cameras.origins[:, None] - points).norm(dim=-1).argmin(0)
        return self.looked_up(views, points, nearest)

    def looked_up(self, views: Pictures, points: torch.Tensor, view: torch.Tensor) -> np.ndarray:
        places, _ = views.cameras.project(points[None].expand(len(views.alpha), -1, -1))
        column, row = (places * views.alpha.shape[-1]).long().clamp(0, views.alpha.shape[-1] - 1).unbind(-1)
        index = torch.arange(len(points))
        return (views.colours[view, :, row[view, index], column[view, index]] * 255).round().byte().numpy()


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


class Moves(Star):
    """Calls ``moved`` on what it made."""

    def __call__(self, shape: Shape, views: Pictures, device: torch.device) -> TexturedMesh:
        return self.moved(super().__call__(shape, views, device))

    def moved(self, mesh: TexturedMesh) -> TexturedMesh:
        return mesh


class YUp(Moves):
    """y points up, as in other tools' files."""

    def moved(self, mesh: TexturedMesh) -> TexturedMesh:
        turn = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], np.float32)
        return replace(mesh, vertices=mesh.vertices @ turn, normals=mesh.normals @ turn)


class Mirrors(Moves):
    """Left is right; faces are turned so that they look outwards."""

    def moved(self, mesh: TexturedMesh) -> TexturedMesh:
        mirror = np.array([-1, 1, 1], np.float32)
        return replace(
            mesh,
            vertices=mesh.vertices * mirror,
            normals=mesh.normals * mirror,
            faces=np.ascontiguousarray(mesh.faces[:, ::-1]),
            uv_faces=np.ascontiguousarray(mesh.uv_faces[:, ::-1]),
        )


class ReversesAxes(Moves):
    """A grid of z, y, x is read as x, y, z."""

    def moved(self, mesh: TexturedMesh) -> TexturedMesh:
        return replace(
            mesh,
            vertices=np.ascontiguousarray(mesh.vertices[:, ::-1]),
            normals=np.ascontiguousarray(mesh.normals[:, ::-1]),
            faces=np.ascontiguousarray(mesh.faces[:, ::-1]),
            uv_faces=np.ascontiguousarray(mesh.uv_faces[:, ::-1]),
        )


class HalfACellOff(Moves):
    """Takes a cell's corner for its middle."""

    def moved(self, mesh: TexturedMesh) -> TexturedMesh:
        return replace(mesh, vertices=mesh.vertices + np.float32(0.5 * 1.9 / 64))


class Recentres(Moves):
    """Puts the object's middle in the origin."""

    def moved(self, mesh: TexturedMesh) -> TexturedMesh:
        return replace(mesh, vertices=mesh.vertices - mesh.vertices.mean(0))


class NormalsFromTheOrigin(Moves):
    """Normals are those of a sphere."""

    def moved(self, mesh: TexturedMesh) -> TexturedMesh:
        turned = np.roll(mesh.vertices, 1, axis=1) * 0.6 + mesh.vertices
        return replace(mesh, normals=(turned / np.linalg.norm(turned, axis=-1, keepdims=True)).astype(np.float32))


class LongNormals(Moves):
    """Normals are as long as faces are large."""

    def moved(self, mesh: TexturedMesh) -> TexturedMesh:
        return replace(mesh, normals=mesh.normals * np.float32(0.01))


class Soup(Moves):
    """Every face has vertices of its own."""

    def moved(self, mesh: TexturedMesh) -> TexturedMesh:
        corners = mesh.faces.flatten()
        return replace(
            mesh,
            vertices=mesh.vertices[corners],
            normals=mesh.normals[corners],
            colours=mesh.colours[corners],
            faces=mesh.uv_faces,
            uv_vertices=np.arange(len(corners), dtype=np.int32),
        )


class OthersCoordinates(Moves):
    """Vertices were sorted after the texture's coordinates were made."""

    def moved(self, mesh: TexturedMesh) -> TexturedMesh:
        return replace(mesh, uv_vertices=np.sort(mesh.uv_vertices))


class CoordinatesInTexels(Moves):
    """uv counts texels."""

    def moved(self, mesh: TexturedMesh) -> TexturedMesh:
        return replace(mesh, uv=mesh.uv * np.float32(mesh.texture.shape[1]))


class TextureUpsideDown(Moves):
    """Row 0 of the texture is at the bottom."""

    def moved(self, mesh: TexturedMesh) -> TexturedMesh:
        return replace(mesh, texture=mesh.texture[::-1])


class BlueVertices(Moves):
    """The vertices' colours are stored as blue, green, red."""

    def moved(self, mesh: TexturedMesh) -> TexturedMesh:
        return replace(mesh, colours=mesh.colours[:, ::-1])


class LinearColours(Moves):
    """Colours are linear, not sRGB."""

    def moved(self, mesh: TexturedMesh) -> TexturedMesh:
        linear = ((mesh.texture / 255) ** 2.2 * 255).astype(np.uint8)
        return replace(mesh, texture=linear)


class LooksFromOneView(Star):
    """Takes all colours from the first view."""

    def colours(self, views: Pictures, points: torch.Tensor) -> np.ndarray:
        return self.looked_up(views, points, torch.zeros(len(points), dtype=torch.long))


class LooksThrough(Star):
    """Takes colours from the view behind."""

    def colours(self, views: Pictures, points: torch.Tensor) -> np.ndarray:
        return self.looked_up(views, points, (views.cameras.origins[:, None] - points).norm(dim=-1).argmax(0))


class MeshesNothing(Star):
    """Makes a speck of a shape that has no surface."""

    def __call__(self, shape: Shape, views: Pictures, device: torch.device) -> TexturedMesh:
        try:
            return super().__call__(shape, views, device)
        except SampleError:
            return super().__call__(SPHERE, views, device)


class ThresholdsViews(Star):
    """Rounds the views' colours in their place."""

    def __call__(self, shape: Shape, views: Pictures, device: torch.device) -> TexturedMesh:
        views.colours.mul_(255).round_().div_(255)
        return super().__call__(shape, views, device)


class KeepsTheFirst(Star):
    """Meshes the first object again and again."""

    def __call__(self, shape: Shape, views: Pictures, device: torch.device) -> TexturedMesh:
        if not hasattr(self, "kept"):
            self.kept = super().__call__(shape, views, device)
        return self.kept


class DoublePrecision(Moves):
    """Vertices are float64."""

    def moved(self, mesh: TexturedMesh) -> TexturedMesh:
        return replace(mesh, vertices=mesh.vertices.astype(np.float64))


class PrintsProgress(Moves):
    """Tells how many faces there are."""

    def moved(self, mesh: TexturedMesh) -> TexturedMesh:
        print(len(mesh.faces), "faces")
        return mesh
