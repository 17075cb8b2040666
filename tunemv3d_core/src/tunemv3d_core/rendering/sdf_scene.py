"""A scene made of a signed distance and values, rendered as NeuS renders."""

from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.rendering.points import sample_ball
from tunemv3d_core.rendering.precision import full_precision, result_dtype
from tunemv3d_core.rendering.rays import RayBundle, cull_rays, points_per_chunk
from tunemv3d_core.rendering.spec import SDFFieldSpec
from tunemv3d_core.rendering.volume import (
    MIN_OPACITY,
    RayOutputs,
    composite_sdf,
    importance_sample,
    sample_along_rays,
)
from tunemv3d_core.types import Rendering


class SDF(Protocol):
    """The signed distance and values of b objects, as a field knows them.

    One that has ``recomputes = True`` keeps nothing for the backward pass by itself: ``gradient_checkpointing`` would
    evaluate it once more for nothing.
    """

    def query(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Return signed distances ``b r s`` and values ``b r s v`` at points ``b r s 3`` of rays with unit directions
        ``b r 3``.
        """
        ...

    def signed_distance(self, points: Tensor) -> Tensor:
        """Return ``b p``, negative inside, at points ``b p 3``, world units."""
        ...


class SDFScene:
    """A ``Scene`` that has a surface.

    Args:
        sdf: distances and values of b objects.
        variance: scalar v of ``inv_s = exp(10 v)``, the inverse width of the surface (NeuS).
        spec: how it is sampled and rendered.
        like: ``b ...``, a tensor of the batch size, device and dtype that renderings take.
        jitter: whether samples along rays are moved at random, as in training.
    """

    def __init__(self, sdf: SDF, variance: Tensor, spec: SDFFieldSpec, like: Tensor, jitter: bool = False) -> None:
        self._sdf = sdf
        self._variance = variance
        self._spec = spec
        self._like = like
        self._jitter = jitter
        self._checkpoints = spec.gradient_checkpointing and not getattr(sdf, "recomputes", False)

    def render(
        self, cameras: Cameras, size: tuple[int, int], pixels: Tensor | None = None, normals: bool = False
    ) -> Rendering:
        """Render.

        Args:
            cameras: ``b m``.
            size: (h, w) of the maps.
            pixels: ``b m r 2``, (x, y) as fractions of the image: render these alone.
            normals: whether to render normals as well: zero where nothing was hit.

        Returns:
            Maps ``b m ... h w``, or ``b m ... r`` at pixels.
        """
        spec = self._spec
        culled = cull_rays(cameras, size, pixels, spec.radius)
        rays_per_chunk = max(1, self._points_per_chunk() // (spec.samples + spec.fine_samples))
        rays = replace(culled.rays, draws=self._draws(culled.rays.nears)) if self._jitter else culled.rays
        outputs = rays.map_chunks(self._render_rays, rays_per_chunk, self._checkpoints)
        surface_normals = None
        if normals:
            surface_points = culled.rays.points(outputs.depth[..., None])[:, :, 0]
            surface_normals = self._normals(surface_points, outputs.opacity)
        return culled.rendering(outputs, result_dtype(self._like), surface_normals)

    def signed_distance(self, points: Tensor) -> Tensor:
        """Return ``b p``, float32, negative inside, at points ``b p 3``, world units. Always in full precision."""
        with full_precision(points):
            chunks = torch.split(points.float(), self._points_per_chunk(), dim=1)
            return torch.cat([self._sdf.signed_distance(chunk) for chunk in chunks], dim=1)

    def losses(self) -> dict[str, Tensor]:
        """Return the surface's regularisers, by finite differences of the signed distance f.

        - ``eikonal``: mean of ``(|grad f| - 1)^2`` at those of random points of the sphere nearest to the surface.
        - ``sparsity``: mean of ``exp(-tau |f|)`` at random points of the sphere (SparseNeuS): few surfaces.
        """
        spec = self._spec
        points = sample_ball(self._like.shape[0], 4 * spec.eikonal_points, spec.radius, self._like.device)
        sdf = self.signed_distance(points)
        nearest = sdf.detach().abs().topk(spec.eikonal_points, dim=1, largest=False).indices
        gradient = self._gradient(points.gather(1, nearest[..., None].expand(-1, -1, 3)))
        return {
            "eikonal": (gradient.norm(dim=-1) - 1).square().mean(),
            "sparsity": torch.exp(-spec.sparsity_scale * sdf.abs()).mean(),
        }

    def _draws(self, nears: Tensor) -> Tensor:
        """Random numbers ``b k s`` of all samples: those of the even ones, then those of the fine ones."""
        each = (self._spec.samples, self._spec.fine_samples)
        return torch.cat([torch.rand(*nears.shape, s, device=nears.device, dtype=nears.dtype) for s in each], dim=-1)

    def _render_rays(self, rays: RayBundle) -> RayOutputs:
        """Sample evenly, then where a surface may be, and composite all samples."""
        spec = self._spec
        even: bool | Tensor = False
        within: bool | Tensor = False
        if rays.draws is not None:
            even, within = torch.split(rays.draws, [spec.samples, spec.fine_samples], dim=-1)
        depths = sample_along_rays(rays.nears, rays.fars, spec.samples, even)
        sdf, values = self._query(rays, depths)
        with full_precision(depths):
            inv_s = (10 * self._variance).exp().clamp(1e-6, 1e6)
        if spec.fine_samples:
            with torch.no_grad(), full_precision(depths):
                deltas = depths.diff(dim=-1) * rays.directions.norm(dim=-1, keepdim=True)
                fine = importance_sample(sdf, depths, deltas, inv_s, spec.fine_samples, within)
            fine_sdf, fine_values = self._query(rays, fine)
            depths, order = torch.cat([depths, fine], dim=-1).sort(dim=-1)
            sdf = torch.cat([sdf, fine_sdf], dim=-1).gather(-1, order)
            values = torch.cat([values, fine_values], dim=-2)
            values = values.gather(-2, order[..., None].expand_as(values))
        with full_precision(depths):
            return composite_sdf(sdf, values, depths, inv_s)

    def _query(self, rays: RayBundle, depths: Tensor) -> tuple[Tensor, Tensor]:
        """Signed distances ``b r s`` and values ``b r s v`` at depths ``b r s``, float32."""
        unit = rays.directions / rays.directions.norm(dim=-1, keepdim=True)
        sdf, values = self._sdf.query(rays.points(depths), unit)
        # Constant along rays that miss, so that they stay empty.
        return torch.where(rays.valid[..., None], sdf, 1.0), values.float()

    def _gradient(self, points: Tensor) -> Tensor:
        """Central differences of the signed distance at ``b p 3``."""
        eps = self._spec.fd_eps
        steps = torch.eye(3, device=points.device) * eps
        moved = points[:, :, None, None] + torch.stack([steps, -steps])
        sdf = torch.unflatten(self.signed_distance(moved.flatten(1, 3)), 1, (-1, 2, 3))
        ahead, behind = sdf.unbind(2)
        return (ahead - behind) / (2 * eps)

    def _normals(self, points: Tensor, opacity: Tensor) -> Tensor:
        """Outward unit normals ``b r 3`` at the rays' surface points; zero where nothing was hit."""
        gradient = self._gradient(points)
        normals = gradient / gradient.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        return torch.where((opacity > MIN_OPACITY)[..., None], normals, torch.zeros_like(normals))

    def _points_per_chunk(self) -> int:
        return points_per_chunk(self._like, self._spec.chunk_size, self._checkpoints)
