"""Mesh renderers for the tests of the kit: one that passes it, and copies that break one promise each."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tunemv3d_core.cameras import Cameras, Rays
from tunemv3d_core.slots import TexturedMesh

View = dict[str, Any]


class Caster:
    """Meets every triangle with four rays a pixel. Copies override one step of it."""

    def __call__(
        self, mesh: TexturedMesh, cameras: Cameras, size: tuple[int, int], light: object = None
    ) -> Iterator[View]:
        for k in range(len(cameras.origins)):
            yield self.finished(self.view(mesh, cameras[k], size), cameras[k])

    def rays(self, camera: Cameras, size: tuple[int, int]) -> Rays:
        return camera.rays(size)

    def texels(self, mesh: TexturedMesh, uv: Tensor) -> Tensor:
        h, w = mesh.texture.shape[:2]
        row, column = ((1 - uv[:, 1]) * h).long().clamp(0, h - 1), (uv[:, 0] * w).long().clamp(0, w - 1)
        return torch.from_numpy(mesh.texture.astype(np.float32))[row, column]

    def finished(self, view: View, camera: Cameras) -> View:
        return view

    def view(self, mesh: TexturedMesh, camera: Cameras, size: tuple[int, int]) -> View:
        h, w = size
        rays = self.rays(camera, (2 * h, 2 * w))
        depth, face, u, v = met(torch.from_numpy(mesh.vertices[mesh.faces]), rays)
        hit = depth.isfinite()
        share = torch.stack([1 - u - v, u, v], -1)[..., None]
        normals = (torch.from_numpy(mesh.normals[mesh.faces])[face] * share).sum(1)
        colours = self.texels(mesh, (torch.from_numpy(mesh.uv[mesh.uv_faces])[face] * share).sum(1))

        def mean(values: Tensor) -> Tensor:
            """Of a pixel's rays that hit."""
            blocks = (torch.where(hit[:, None], values, 0.0)).reshape(h, 2, w, 2, -1).sum((1, 3))
            return blocks / hit.reshape(h, 2, w, 2, 1).sum((1, 3)).clamp(min=1)

        albedo = mean(colours)
        lit = albedo * (0.75 + 0.25 * mean(normals)[..., 2:])
        alpha = hit.reshape(h, 2, w, 2, 1).float().mean((1, 3)) * 255
        return {
            "rgba": torch.cat([lit, alpha], -1).round().byte().numpy(),
            "albedo": albedo.round().byte().numpy(),
            "depth": mean(depth[:, None])[..., 0].numpy(),
            "normals": torch.nn.functional.normalize(mean(normals), dim=-1).numpy(),
        }


def met(triangles: Tensor, rays: Rays) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Depth (infinite where nothing is met), face and barycentric coordinates, each ``r``, of the nearest triangle.

    All rays leave one point: with a triangle's corners, seen from there, as the rows of M, a direction is ``d = l M``,
    where l are the barycentric coordinates over the depth.
    """
    over_depth = torch.einsum("rk,fkc->crf", rays.directions, torch.linalg.inv(triangles - rays.origins[0]))
    inverse = over_depth.sum(0).where((over_depth >= 0).all(0), 0.0)
    nearest, face = inverse.max(1)
    row = torch.arange(len(face))
    _, u, v = over_depth[:, row, face] / nearest.clamp(min=1e-9)
    return 1 / nearest, face, u, v


def changed(view: View, change: Any) -> View:
    return {name: change(array) for name, array in view.items()}


class MirrorsPictures(Caster):
    """Left is right."""

    def finished(self, view: View, camera: Cameras) -> View:
        return changed(view, lambda x: x[:, ::-1])


class RowsUp(Caster):
    """The first row is at the bottom, as OpenGL has it."""

    def finished(self, view: View, camera: Cameras) -> View:
        return changed(view, lambda x: x[::-1])


class WidthFirst(Caster):
    """Takes the size for (w, h)."""

    def __call__(self, mesh: Any, cameras: Cameras, size: tuple[int, int], light: object = None) -> Iterator[View]:
        return super().__call__(mesh, cameras, (size[1], size[0]), light)


class RaysLength(Caster):
    """Depth is the length of the ray."""

    def finished(self, view: View, camera: Cameras) -> View:
        length = camera.rays(view["depth"].shape).directions.norm(dim=-1).reshape(view["depth"].shape)
        return {**view, "depth": view["depth"] * length.numpy()}


class FarIsFar(Caster):
    """Depth is 10 where nothing is."""

    def finished(self, view: View, camera: Cameras) -> View:
        return {**view, "depth": np.where(view["rgba"][..., 3] > 0, view["depth"], np.float32(10))}


class NormalsOfTheCamera(Caster):
    """Normals are in the camera's axes."""

    def finished(self, view: View, camera: Cameras) -> View:
        return {**view, "normals": view["normals"] @ camera.camera_to_world[:3, :3].numpy()}


class NormalsAway(Caster):
    """Normals point away from the camera."""

    def finished(self, view: View, camera: Cameras) -> View:
        return {**view, "normals": -view["normals"]}


class NormalsAsPictures(Caster):
    """Normals are pictures from 0 to 1."""

    def finished(self, view: View, camera: Cameras) -> View:
        seen = view["rgba"][..., 3:] > 0
        return {**view, "normals": np.where(seen, view["normals"] / 2 + 0.5, 0).astype(np.float32)}


class FirstCameraAlone(Caster):
    """Renders every view from the first camera."""

    def __call__(self, mesh: Any, cameras: Cameras, size: tuple[int, int], light: object = None) -> Iterator[View]:
        return super().__call__(mesh, cameras[:1].expand(*cameras.shape), size, light)


class LastCameraFirst(Caster):
    """Renders views in another order."""

    def __call__(self, mesh: Any, cameras: Cameras, size: tuple[int, int], light: object = None) -> Iterator[View]:
        return super().__call__(mesh, cameras[list(range(len(cameras.origins)))[::-1]], size, light)


class OneFocalLength(Caster):
    """Takes fx for both axes."""

    def rays(self, camera: Cameras, size: tuple[int, int]) -> Rays:
        return Cameras(camera.camera_to_world, camera.intrinsics[..., [0, 0, 2, 3]]).rays(size)


class CentredLens(Caster):
    """Takes the picture's middle for the principal point."""

    def rays(self, camera: Cameras, size: tuple[int, int]) -> Rays:
        half = torch.full_like(camera.intrinsics[..., 2:], 0.5)
        return Cameras(camera.camera_to_world, torch.cat([camera.intrinsics[..., :2], half], -1)).rays(size)


class UprightCameras(Caster):
    """Points cameras up whatever they are turned by."""

    def rays(self, camera: Cameras, size: tuple[int, int]) -> Rays:
        ahead = camera.origins + camera.camera_to_world[..., :3, 2]
        upright = Cameras.look_at(camera.origins[None], target=ahead[None]).camera_to_world[0]
        return Cameras(upright, camera.intrinsics).rays(size)


class CornersOfPixels(Caster):
    """Rays pass the corners of pixels."""

    def rays(self, camera: Cameras, size: tuple[int, int]) -> Rays:
        moved = camera.intrinsics + torch.tensor([0, 0, 1 / size[1], 1 / size[0]])
        return Cameras(camera.camera_to_world, moved).rays(size)


class MultipliesByAlpha(Caster):
    """Colours are premultiplied."""

    def finished(self, view: View, camera: Cameras) -> View:
        rgba = view["rgba"].astype(np.float32)
        rgba[..., :3] *= rgba[..., 3:] / 255
        return {**view, "rgba": rgba.astype(np.uint8)}


class OnWhite(Caster):
    """The background is white and opaque."""

    def finished(self, view: View, camera: Cameras) -> View:
        alpha = view["rgba"][..., 3:].astype(np.float32) / 255
        rgb = view["rgba"][..., :3] * alpha + 255 * (1 - alpha)
        return {**view, "rgba": np.concatenate([rgb, np.full_like(alpha, 255)], -1).astype(np.uint8)}


class FloatingAlpha(Caster):
    """rgba is float, from 0 to 1."""

    def finished(self, view: View, camera: Cameras) -> View:
        return {**view, "rgba": view["rgba"].astype(np.float32) / 255}


class BlueFirst(Caster):
    """Colours are blue, green, red."""

    def finished(self, view: View, camera: Cameras) -> View:
        return {**view, "albedo": view["albedo"][..., ::-1], "rgba": view["rgba"][..., [2, 1, 0, 3]]}


class TextureFromBelow(Caster):
    """Takes the texture's row 0 for the bottom."""

    def texels(self, mesh: TexturedMesh, uv: Tensor) -> Tensor:
        return super().texels(mesh, torch.stack([uv[:, 0], 1 - uv[:, 1]], -1))


class LitAlbedo(Caster):
    """Albedo has the light on it."""

    def finished(self, view: View, camera: Cameras) -> View:
        return {**view, "albedo": view["rgba"][..., :3] // 2}


class LinearAlbedo(Caster):
    """Albedo is linear."""

    def finished(self, view: View, camera: Cameras) -> View:
        return {**view, "albedo": ((view["albedo"] / 255) ** 2.2 * 255).astype(np.uint8)}


class Grains(Caster):
    """Draws its rays at random."""

    def finished(self, view: View, camera: Cameras) -> View:
        grains = np.random.default_rng().integers(0, 5, view["rgba"].shape[:2])
        rgba = view["rgba"].copy()
        rgba[..., 0] = np.maximum(rgba[..., 0].astype(int) - grains, 0)
        return {**view, "rgba": rgba}


class KeepsTheMesh(Caster):
    """Uploads the first mesh, and renders it for all."""

    def __init__(self) -> None:
        self.mesh: TexturedMesh | None = None

    def __call__(self, mesh: Any, cameras: Cameras, size: tuple[int, int], light: object = None) -> Iterator[View]:
        self.before, self.mesh = self.mesh, mesh
        return super().__call__(self.before or mesh, cameras, size, light)


class EditsTheMesh(Caster):
    """Turns the texture in its place."""

    def texels(self, mesh: TexturedMesh, uv: Tensor) -> Tensor:
        colours = super().texels(mesh, uv)
        mesh.texture[:] = np.minimum(mesh.texture, 200)
        return colours


class PrintsViews(Caster):
    """Tells how far it is."""

    def finished(self, view: View, camera: Cameras) -> View:
        print("view done")
        return view


class GrowsOutlines(Caster):
    """A pixel that the object touches is opaque."""

    def finished(self, view: View, camera: Cameras) -> View:
        rgba = view["rgba"].copy()
        rgba[..., 3] = np.where(rgba[..., 3] > 0, 255, 0)
        return {**view, "rgba": rgba}


class ForgetsTheTexture(Caster):
    """Lights a white object."""

    def finished(self, view: View, camera: Cameras) -> View:
        rgba = view["rgba"].copy()
        rgba[..., :3] = (200 * (0.75 + 0.25 * view["normals"][..., 2:])).astype(np.uint8)
        return {**view, "rgba": rgba}


class BlueFirstInTheLight(Caster):
    """The lit picture alone is blue, green, red."""

    def finished(self, view: View, camera: Cameras) -> View:
        return {**view, "rgba": view["rgba"][..., [2, 1, 0, 3]]}
