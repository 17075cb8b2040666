"""The ``embree`` mesh renderer: trimesh's geometry, embreex's ray casting, a small NumPy shader.

The lights are fixed in the world, and every surface is lit from the side that one looks at. So a point has one colour
in all views, which is what a 3D model learned from these pictures assumes; a light on the camera would break it.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import NDArray

from tunemv3d_core.cameras import Cameras, pixel_centres
from tunemv3d_data.meshes.materials import linear_to_srgb, srgb_to_linear
from tunemv3d_data.meshes.mesh import Floats, Mesh
from tunemv3d_data.meshes.textured import as_mesh
from tunemv3d_data.renderers.light import DARKEST, STUDIO, Light
from tunemv3d_data.renderers.samples import Samples, resolve
from tunemv3d_data.renderers.surfaces import Texels, corner_normals, face_normals, prefiltered
from tunemv3d_data.spec import EmbreeSpec

_LAYERS = 8
"""How many see-through texels (leaves, lattices) a ray may pass before it counts as a miss."""


class EmbreeRenderer:
    """Render meshes by casting ``samples`` x ``samples`` rays per pixel."""

    def __init__(self, samples: int = 2) -> None:
        self.samples = samples

    def __call__(
        self, mesh: object, cameras: Cameras, size: tuple[int, int], light: object = STUDIO
    ) -> Iterator[dict[str, object]]:
        """Yield a view for each camera (shape ``(n,)``), as a dict of arrays of ``size`` (h, w).

        - ``rgba``: ``h w 4`` uint8, sRGB, straight alpha, colour 0 where alpha is 0;
        - ``depth``: ``h w`` float32, z in the camera, world units, 0 where nothing was hit;
        - ``normals``: ``h w 3`` float32, world space, on the side that one looks at, 0 where nothing was hit;
        - ``albedo``: ``h w 3`` uint8, the colour without light;
        - ``material``: ``h w`` int16, index into the mesh's materials, -1 where nothing was hit.
        """
        mesh = as_mesh(mesh, "embree")
        assert isinstance(light, Light)
        tracer = _Tracer(mesh, Texels(mesh.materials, prefiltered(mesh, cameras, size[1])))
        for index in range(cameras.shape[0]):
            yield self._view(tracer, cameras[index], size, light)

    def _view(self, tracer: "_Tracer", camera: Cameras, size: tuple[int, int], light: Light) -> dict[str, object]:
        pixels = _subpixels(size, self.samples)
        inside = _in_frame_of(tracer.corners, camera, pixels)
        rays = camera.rays(size, pixels=pixels[inside])
        hits = tracer.cast(rays.origins.numpy().astype(np.float32), rays.directions.numpy().astype(np.float32))
        per_pixel = self.samples**2
        pixel = torch.nonzero(inside)[:, 0].numpy()[hits.index] // per_pixel
        lit = hits.albedo * light.on(hits.normal)[:, None]
        return resolve(replace(hits, index=pixel), lit, size, per_pixel)


def build(spec: EmbreeSpec) -> EmbreeRenderer:
    """Build the renderer from its options."""
    return EmbreeRenderer(spec.samples)


class _Tracer:
    """A mesh in Embree with all its textures in one array, so that shading is a single gather."""

    def __init__(self, mesh: Mesh, texels: Texels) -> None:
        self.mesh = mesh
        self.corners = torch.from_numpy(np.unique(mesh.triangles.reshape(-1, 3), axis=0))
        self.scene = EmbreeScene()
        self.geometry = TriangleMesh(self.scene, np.ascontiguousarray(mesh.triangles))
        self.face_normals, self.corner_normals = face_normals(mesh), corner_normals(mesh)
        self.looks = texels
        self.is_textured = texels.sizes.max(-1) > 1
        self.texels = texels.values.astype(np.float32)

    def cast(self, origins: Floats, directions: Floats) -> Samples:
        """Find the nearest opaque hit of every ray. Directions have z = 1 in the camera, so distances are depths."""
        waiting = np.arange(len(origins))
        start = np.zeros(len(origins), dtype=np.float32)
        found: list[Samples] = []
        for _ in range(_LAYERS):
            ahead = directions[waiting]
            out = self.scene.run(origins[waiting] + start[waiting, None] * ahead, ahead, output=True)
            hit = np.nonzero(out["primID"] >= 0)[0]
            face, u, v = out["primID"][hit], out["u"][hit, None], out["v"][hit, None]
            ray, depth = waiting[hit], start[waiting[hit]] + out["tfar"][hit]
            colour = self._colour(face, u, v)
            solid = (colour[:, 3] > 127) & self._is_shown(face, directions[ray])
            face, u, v = face[solid], u[solid], v[solid]
            normal = self._normal(face, u, v, directions[ray[solid]])
            albedo = DARKEST + colour[solid, :3] * np.float32((255 - DARKEST) / 255)
            found.append(Samples(ray[solid], depth[solid], normal, albedo, self.mesh.material[face]))
            waiting = ray[~solid]
            start[waiting] = depth[~solid] + 1e-4
            if not len(waiting):
                break
        return Samples(*(np.concatenate([getattr(h, name) for h in found]) for name in Samples.__dataclass_fields__))

    def _normal(self, face: NDArray[np.int32], u: Floats, v: Floats, directions: Floats) -> Floats:
        normal = _between(self.corner_normals[face], u, v)
        normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-12)
        away = (self.face_normals[face] * directions).sum(-1, keepdims=True) > 0
        return np.asarray(np.where(away, -normal, normal), dtype=np.float32)

    def _is_shown(self, face: NDArray[np.int32], directions: Floats) -> NDArray[np.bool_]:
        """Whether a face is met on a side from which it is seen."""
        if self.looks.is_double_sided.all():
            return np.ones(len(face), dtype=bool)
        in_front = (self.face_normals[face] * directions).sum(-1) < 0
        return np.asarray(in_front | self.looks.is_double_sided[self.mesh.material[face]])

    def _colour(self, face: NDArray[np.int32], u: Floats, v: Floats) -> Floats:
        """The texture's colours, ``r 4``, times the corners' factors."""
        colour = self._texture(face, u, v)
        if self.mesh.colours is not None:
            factors = _between(self.mesh.colours[face], u, v)
            colour[:, :3] = 255 * linear_to_srgb(np.clip(srgb_to_linear(colour[:, :3] / 255) * factors[:, :3], 0, 1))
            colour[:, 3] *= factors[:, 3]
        return colour

    def _texture(self, face: NDArray[np.int32], u: Floats, v: Floats) -> Floats:
        """Colours ``r 4``, 0 to 255: one texel for plain materials, bilinear in textures."""
        material = self.mesh.material[face]
        colour = self.texels[self.looks.offsets[material]]
        textured = np.nonzero(self.is_textured[material])[0]
        if len(textured):
            place = _between(self.mesh.uv[face[textured]], u[textured], v[textured])
            colour[textured] = self._bilinear(place, material[textured])
        return np.asarray(colour, dtype=np.float32)

    def _bilinear(self, place: Floats, material: NDArray[np.int32]) -> Floats:
        (h, w), (along_v, along_u) = self.looks.sizes[material].T, self.looks.wraps[material].T
        y = (1 - _folded(place[:, 1], along_v)) * h.astype(np.float32) - np.float32(0.5)
        x = _folded(place[:, 0], along_u) * w.astype(np.float32) - np.float32(0.5)
        y0, x0 = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
        fy, fx = (y - y0)[:, None].astype(np.float32), (x - x0)[:, None].astype(np.float32)
        if not self.looks.is_smooth.all():
            smooth = self.looks.is_smooth[material][:, None]
            fy, fx = (np.where(smooth, part, part >= 0.5).astype(np.float32) for part in (fy, fx))
        rows = [self.looks.offsets[material] + _wrapped(y0 + i, h, along_v) * w for i in (0, 1)]
        columns = [_wrapped(x0 + i, w, along_u) for i in (0, 1)]
        top = self.texels[rows[0] + columns[0]] * (1 - fx) + self.texels[rows[0] + columns[1]] * fx
        bottom = self.texels[rows[1] + columns[0]] * (1 - fx) + self.texels[rows[1] + columns[1]] * fx
        return np.asarray(top * (1 - fy) + bottom * fy, dtype=np.float32)


def _between(corners: Floats, u: Floats, v: Floats) -> Floats:
    """Values at places inside faces, of those at their corners, ``r 3 c``."""
    return np.asarray(corners[:, 0] * (1 - u - v) + corners[:, 1] * u + corners[:, 2] * v, dtype=np.float32)


def _folded(place: Floats, wrap: NDArray[np.int64]) -> Floats:
    """Texture coordinates within the first period, where float32 tells texels apart."""
    if not wrap.any():
        return place % 1
    return np.asarray(np.choose(wrap, (place % 1, np.clip(place, 0, 1), place % 2)), dtype=np.float32)


def _wrapped(index: NDArray[np.int64], size: NDArray[np.int64], wrap: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows or columns that lie in the texture, for those that may lie beyond its border."""
    if not wrap.any():
        return index % size
    there_and_back = index % (2 * size)
    mirrored = np.minimum(there_and_back, 2 * size - 1 - there_and_back)
    return np.asarray(np.choose(wrap, (index % size, np.clip(index, 0, size - 1), mirrored)))


def _subpixels(size: tuple[int, int], samples: int) -> torch.Tensor:
    """Ray positions as fractions of the image, pixel by pixel: ``(h w samples samples) 2``."""
    h, w = size
    fine = pixel_centres((h * samples, w * samples)).reshape(h, samples, w, samples, 2)
    return fine.permute(0, 2, 1, 3, 4).reshape(-1, 2)


def _in_frame_of(corners: torch.Tensor, camera: Cameras, pixels: torch.Tensor) -> torch.Tensor:
    """Return which pixels lie in the rectangle that the object covers; only these need rays."""
    projected, depth = camera.project(corners)
    if bool((depth <= 0).any()):  # see-through parts may reach behind the camera
        return torch.ones(len(pixels), dtype=torch.bool)
    low, high = projected.amin(0), projected.amax(0)
    x, y = pixels.unbind(-1)
    inside: torch.Tensor = (x >= low[0]) & (x <= high[0]) & (y >= low[1]) & (y <= high[1])
    return inside
