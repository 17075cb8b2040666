"""Gaussians as a scene: rendered into any camera."""

from dataclasses import replace

import torch
from einops import rearrange
from torch import Tensor

from tunemv3d_core.cameras import Cameras, pixel_centres
from tunemv3d_core.rendering.precision import full_precision, result_dtype
from tunemv3d_core.rendering.volume import MIN_OPACITY, RayOutputs
from tunemv3d_core.types import Rendering
from tunemv3d_gaussians import gsplat_backend
from tunemv3d_gaussians.spec import GaussiansSpec
from tunemv3d_gaussians.splat import Gaussians, in_pixels, list_tiles, project, splat

BLUR = 0.1
"""Added to the variances of a projected Gaussian, squared cells of the features, so that none falls between pixels.
3D Gaussian Splatting adds 0.3, which blurs latents, whose cells are coarse; and it adds squared pixels, so that
Gaussians learned at one size fall apart into specks at a larger one."""


class GaussianScene:
    """A ``Scene`` of Gaussians. It has no surface.

    Args:
        gaussians: of b objects, ``g = n h w``: one for each pixel of n views.
        means: ``b n 3 h w``, theirs.
        cameras: ``b n``, of the views.
        size: (h, w) of the views' features.
        spec: how it is splatted.
        like: ``b ...``, a tensor of the dtype and device that renderings take.
    """

    def __init__(
        self,
        gaussians: Gaussians,
        means: Tensor,
        cameras: Cameras,
        size: tuple[int, int],
        spec: GaussiansSpec,
        like: Tensor,
    ) -> None:
        self.gaussians = gaussians
        self._means, self._cameras, self._spec, self._like = means, cameras, spec, like
        self._cells = size[0] * size[1]
        self._tiles = (-(-size[0] // spec.tile), -(-size[1] // spec.tile))

    def render(
        self, cameras: Cameras, size: tuple[int, int], pixels: Tensor | None = None, normals: bool = False
    ) -> Rendering:
        """Splat.

        Args:
            cameras: ``b m``.
            size: (h, w) of the maps; where pixels are given, it says how large one is.
            pixels: ``b m r 2``, (x, y) as fractions of the image: render these alone.
            normals: whether to render normals as well: zero where nothing was hit.

        Returns:
            Maps ``b m ... h w``, or ``b m ... r`` at pixels. Depth is that of the mean of what a pixel shows.
        """
        with full_precision(self._like):
            gaussians = self.gaussians
            if normals:
                facing = _normals(self._means, self._cameras).flatten(3).mT.flatten(1, 2)
                gaussians = replace(gaussians, values=torch.cat([gaussians.values, facing], dim=-1))
            pixels = None if pixels is None else pixels.float()
            outputs = self._render(gaussians, cameras.to(torch.float32), size, pixels)
            shape = size if pixels is None else (pixels.shape[2],)
            values = torch.unflatten(outputs.values.mT, -1, shape)
            opacity, depth = (torch.unflatten(z, -1, shape) for z in (outputs.opacity, outputs.depth))
            normal_maps = None
            if normals:
                values, facing = values[:, :, :-3], values[:, :, -3:]
                facing = facing / facing.norm(dim=2, keepdim=True).clamp(min=1e-6)
                normal_maps = torch.where((opacity > MIN_OPACITY)[:, :, None], facing, 0.0)
        dtype = result_dtype(self._like)
        return Rendering(values.to(dtype), opacity.to(dtype), depth, normal_maps)

    def losses(self) -> dict[str, Tensor]:
        """Return none: Gaussians have no regulariser here."""
        return {}

    def _render(
        self, gaussians: Gaussians, cameras: Cameras, size: tuple[int, int], pixels: Tensor | None
    ) -> RayOutputs:
        """Splat pixels ``b m r``; those of maps row by row."""
        if pixels is None and self._spec.gsplat and gsplat_backend.usable(self._like):
            return gsplat_backend.splat(gaussians, cameras, size, self._blur(size))
        step = self._cameras_per_chunk(cameras.shape[1], size[0] * size[1] if pixels is None else pixels.shape[2])
        parts = [
            self._splat(gaussians, cameras[:, i : i + step], size, None if pixels is None else pixels[:, i : i + step])
            for i in range(0, cameras.shape[1], step)
        ]
        return RayOutputs(*(torch.cat([getattr(p, z) for p in parts], dim=1) for z in ("values", "opacity", "depth")))

    def _splat(
        self, gaussians: Gaussians, cameras: Cameras, size: tuple[int, int], pixels: Tensor | None
    ) -> RayOutputs:
        """Splat by the plain reference, whole maps tile by tile where tiles are whole numbers of pixels."""
        (rows, columns), (h, w) = self._tiles, size
        splats = project(gaussians, cameras, size, self._blur(size))
        listed = list_tiles(splats, self._tiles, size, self._spec.listed)
        if pixels is None:
            pixels = pixel_centres(size, self._like.device).expand(*cameras.shape, -1, -1)
            if h % rows == 0 and w % columns == 0:
                tiled = {"r": rows, "c": columns, "i": h // rows, "j": w // columns}
                at = rearrange(pixels, "b m (r i c j) two -> b m (r c) (i j) two", **tiled) * in_pixels(size, pixels)
                outputs = splat(splats, gaussians.values, listed, at)
                whole = "b m (r c) (i j) v -> b m (r i c j) v"
                values = rearrange(outputs.values, whole, **tiled)
                flat = (rearrange(z[..., None], whole, **tiled)[..., 0] for z in (outputs.opacity, outputs.depth))
                return RayOutputs(values, *flat)
        column = (pixels[..., 0] * columns).long().clamp(0, columns - 1)
        row = (pixels[..., 1] * rows).long().clamp(0, rows - 1)
        at = (pixels * in_pixels(size, pixels))[..., None, :]
        outputs = splat(splats, gaussians.values, listed, at, row * columns + column)
        return RayOutputs(outputs.values[..., 0, :], outputs.opacity[..., 0], outputs.depth[..., 0])

    def _blur(self, size: tuple[int, int]) -> float:
        """Return ``BLUR`` in squared pixels of an (h, w) map, and not less of one that is coarser than the features."""
        return BLUR * max(1.0, size[0] * size[1] / self._cells)

    def _cameras_per_chunk(self, cameras: int, pixels: int) -> int:
        """Return 1 on a CPU, so that intermediate results stay in the cache; on an accelerator all where gradients are
        kept, because chunks would save nothing, and else as many as the spec allows.
        """
        if self._like.device.type == "cpu":
            return 1
        if torch.is_grad_enabled():
            return cameras
        return max(1, self._spec.chunk_size // (self._like.shape[0] * pixels * self._spec.listed))


def _normals(points: Tensor, cameras: Cameras) -> Tensor:
    """Return unit normals ``b n 3 h w`` of the surface through neighbouring points, towards the view's camera."""
    across = torch.nn.functional.pad(points, (1, 1, 0, 0, 0, 0), mode="replicate").diff(dim=-1)
    down = torch.nn.functional.pad(points, (0, 0, 1, 1, 0, 0), mode="replicate").diff(dim=-2)
    across, down = across[..., 1:] + across[..., :-1], down[..., 1:, :] + down[..., :-1, :]
    normals = torch.linalg.cross(across, down, dim=2)
    towards = cameras.origins[..., None, None] - points
    normals = normals * torch.where((normals * towards).sum(2, keepdim=True) < 0, -1.0, 1.0)
    return torch.div(normals, normals.norm(dim=2, keepdim=True).clamp(min=1e-12))
