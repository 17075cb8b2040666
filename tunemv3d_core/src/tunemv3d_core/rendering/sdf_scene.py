"""A scene made of a signed distance and values, rendered as NeuS renders."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.rendering.precision import full_precision, result_dtype
from tunemv3d_core.rendering.rays import BoundedRays, keep_rays, points_at_once
from tunemv3d_core.rendering.volume import NOTHING, Composite, composite, section_ends, surface_depths
from tunemv3d_core.types import Rendering


class Surface(Protocol):
    """What a field knows of b objects."""

    def look(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Points ``b r s 3`` of rays with unit directions ``b r 3`` to signed distances ``b r s`` and values
        ``b r s v``.
        """
        ...

    def signed_distance(self, points: Tensor) -> Tensor:
        """``b p 3`` in world units to ``b p``: negative inside."""
        ...


@dataclass(frozen=True)
class SurfaceOptions:
    """How a surface is looked for.

    Attributes:
        samples: points a ray at which the surface is evaluated; they bound ``samples - 1`` sections.
        fine_samples: further points a ray, placed where the first ones leave room for a surface.
        radius: of the sphere around the origin that is rendered, world units.
        chunk: most points evaluated at once where no gradient is kept.
        recompute: keep no intermediate result in training either; the backward pass evaluates them anew.
        difference: step of the finite differences for normals and the eikonal term, world units.
        eikonal_points: of each object, near the surface; four times as many are drawn.
        sparsity_scale: tau of SparseNeuS's ``exp(-tau |f|)``, one a world unit.
    """

    samples: int = 32
    fine_samples: int = 0
    radius: float = 1.0
    chunk: int = 262144
    recompute: bool = False
    difference: float = 0.005
    eikonal_points: int = 1024
    sparsity_scale: float = 100.0


class SurfaceScene:
    """A ``Scene`` that has a surface.

    Args:
        surface: distances and values of b objects.
        sharpness: the scalar v of s = exp(10 v), the inverse width of the surface.
        options: how it is looked for.
        like: ``b ...``, a tensor of the batch size, device and dtype that renderings take.
        jitter: whether points along rays are moved at random, as in training.
    """

    def __init__(
        self, surface: Surface, sharpness: Tensor, options: SurfaceOptions, like: Tensor, jitter: bool = False
    ) -> None:
        self._surface = surface
        self._sharpness = sharpness
        self._options = options
        self._like = like
        self._jitter = jitter

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
            Maps ``b m ... h w``, or ``b m ... r`` at pixels. Depth is that of the mean point of what the ray hit.
        """
        options = self._options
        kept = keep_rays(cameras, size, pixels, options.radius)
        step = max(1, self._at_once() // (options.samples + options.fine_samples))
        seen = kept.rays.march(self._march, step, options.recompute)
        surface = None
        if normals:
            surface = self._normals(kept.rays.points(seen.depth[..., None])[:, :, 0], seen.opacity)
        return kept.rendering(seen, result_dtype(self._like), surface)

    def signed_distance(self, points: Tensor) -> Tensor:
        """``b p 3`` in world units to ``b p``, float32: negative inside. Always evaluated in full precision."""
        with full_precision(points):
            chunks = torch.split(points.float(), self._at_once(), dim=1)
            return torch.cat([self._surface.signed_distance(chunk) for chunk in chunks], dim=1)

    def losses(self) -> dict[str, Tensor]:
        """The surface's regularisers, by finite differences of the signed distance f.

        - ``eikonal``: mean of ``(|grad f| - 1)^2`` at those of random points of the sphere nearest to the surface.
        - ``sparsity``: mean of ``exp(-tau |f|)`` at random points of the sphere (SparseNeuS): few surfaces.
        """
        options = self._options
        points = ball_points(self._like.shape[0], 4 * options.eikonal_points, options.radius, self._like.device)
        distances = self.signed_distance(points)
        nearest = distances.detach().abs().topk(options.eikonal_points, dim=1, largest=False).indices
        gradient = self._gradient(points.gather(1, nearest[..., None].expand(-1, -1, 3)))
        return {
            "eikonal": (gradient.norm(dim=-1) - 1).square().mean(),
            "sparsity": torch.exp(-options.sparsity_scale * distances.abs()).mean(),
        }

    def _march(self, rays: BoundedRays) -> Composite:
        """Look along rays, first evenly, then where a surface may be."""
        options, jitter = self._options, self._jitter
        depths = section_ends(rays.near, rays.far, options.samples, jitter)
        distances, values = self._look(rays, depths)
        with full_precision(depths):
            sharpness = (10 * self._sharpness).exp().clamp(1e-6, 1e6)
        if options.fine_samples:
            with torch.no_grad(), full_precision(depths):
                lengths = depths.diff(dim=-1) * rays.directions.norm(dim=-1, keepdim=True)
                fine = surface_depths(distances, depths, lengths, sharpness, options.fine_samples, jitter)
            more = self._look(rays, fine)
            depths, order = torch.cat([depths, fine], dim=-1).sort(dim=-1)
            distances = torch.cat([distances, more[0]], dim=-1).gather(-1, order)
            values = torch.cat([values, more[1]], dim=-2)
            values = values.gather(-2, order[..., None].expand_as(values))
        with full_precision(depths):
            return composite(distances, values, depths, sharpness)

    def _look(self, rays: BoundedRays, depths: Tensor) -> tuple[Tensor, Tensor]:
        """Signed distances ``b r s`` and values ``b r s v`` at depths ``b r s``, float32."""
        unit = rays.directions / rays.directions.norm(dim=-1, keepdim=True)
        distances, values = self._surface.look(rays.points(depths), unit)
        # Constant along rays that miss, so that they stay empty.
        return torch.where(rays.hit[..., None], distances, 1.0), values.float()

    def _gradient(self, points: Tensor) -> Tensor:
        """Central differences of the signed distance at ``b p 3``."""
        steps = torch.eye(3, device=points.device) * self._options.difference
        moved = points[:, :, None, None] + torch.stack([steps, -steps])
        distances = torch.unflatten(self.signed_distance(moved.flatten(1, 3)), 1, (-1, 2, 3))
        ahead, behind = distances.unbind(2)
        return (ahead - behind) / (2 * self._options.difference)

    def _normals(self, points: Tensor, opacity: Tensor) -> Tensor:
        """Outward unit normals ``b r 3`` at the rays' surface points; zero where nothing was hit."""
        gradient = self._gradient(points)
        normals = gradient / gradient.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        return torch.where((opacity > NOTHING)[..., None], normals, torch.zeros_like(normals))

    def _at_once(self) -> int:
        return points_at_once(self._like, self._options.chunk, self._options.recompute)


def ball_points(objects: int, count: int, radius: float, device: torch.device) -> Tensor:
    """Points drawn evenly from a ball around the origin, ``b p 3``."""
    directions = torch.randn(objects, count, 3, device=device)
    directions = directions / directions.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    distances = radius * torch.rand(objects, count, 1, device=device).pow(1 / 3)
    return torch.mul(directions, distances)
