"""Cameras to the rays that are worth rendering, and what those see back to maps."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from tunemv3d_core.cameras import Cameras, intersect_sphere
from tunemv3d_core.rendering.precision import full_precision
from tunemv3d_core.rendering.volume import Composite
from tunemv3d_core.types import Rendering

CPU_CHUNK = 8192
"""Points evaluated at once on a CPU, so that a network's intermediate results stay in the cache."""


@dataclass(frozen=True)
class BoundedRays:
    """k rays of each object with the part of each that may hold something.

    Attributes:
        origins: ``b k 3``, world units.
        directions: ``b k 3``, z = 1 in the camera, so that factors along them are depths.
        near: ``b k``, the depth at which each enters the sphere that holds the object.
        far: ``b k``, the depth at which each leaves it.
        hit: ``b k``, whether it meets the sphere at all.
    """

    origins: Tensor
    directions: Tensor
    near: Tensor
    far: Tensor
    hit: Tensor

    def points(self, depths: Tensor) -> Tensor:
        """``b k s 3`` at depths ``b k s``."""
        return self.origins[:, :, None] + depths[..., None] * self.directions[:, :, None]

    def march(self, look: "Callable[[BoundedRays], Composite]", step: int, recompute: bool = False) -> Composite:
        """Look along the rays, ``step`` of each object's at once.

        With ``recompute`` nothing is kept for the backward pass, which looks again.
        """

        def look_along(*chunk: Tensor) -> Composite:
            if recompute and torch.is_grad_enabled():
                seen: Composite = checkpoint(lambda *rays: look(BoundedRays(*rays)), *chunk, use_reentrant=False)
                return seen
            return look(BoundedRays(*chunk))

        rays = (self.origins, self.directions, self.near, self.far, self.hit)
        parts = [look_along(*chunk) for chunk in zip(*(torch.split(z, step, dim=1) for z in rays), strict=True)]
        return Composite(
            torch.cat([part.values for part in parts], dim=1),
            torch.cat([part.opacity for part in parts], dim=1),
            torch.cat([part.depth for part in parts], dim=1),
        )


@dataclass(frozen=True)
class KeptRays:
    """The rays of cameras ``b m`` that are worth rendering.

    Attributes:
        rays: k of each object.
        shape: (m, rays of one camera).
        size: (h, w) of the maps; None where pixels were asked for.
        kept: ``b k``, which of an object's rays these are; None where all are.
    """

    rays: BoundedRays
    shape: tuple[int, int]
    size: tuple[int, int] | None
    kept: Tensor | None

    def as_maps(self, seen: Tensor) -> Tensor:
        """``b k c`` to ``b m c h w``, or ``b m c r`` at pixels; 0 where no ray was kept."""
        if self.kept is not None:
            channels = seen.shape[2]
            empty = seen.new_zeros(seen.shape[0], self.shape[0] * self.shape[1], channels)
            seen = empty.scatter(1, self.kept[..., None].expand(-1, -1, channels), seen)
        maps = torch.unflatten(seen, 1, self.shape).mT
        return maps if self.size is None else torch.unflatten(maps, -1, self.size)

    def rendering(self, seen: Composite, dtype: torch.dtype, normals: Tensor | None = None) -> Rendering:
        """What the rays see as maps: values and opacity in ``dtype``, depth and normals (``b k 3``) in float32."""
        return Rendering(
            self.as_maps(seen.values).to(dtype),
            self.as_maps(seen.opacity[..., None]).squeeze(2).to(dtype),
            self.as_maps(seen.depth[..., None]).squeeze(2),
            None if normals is None else self.as_maps(normals),
        )


def keep_rays(cameras: Cameras, size: tuple[int, int], pixels: Tensor | None = None, radius: float = 1.0) -> KeptRays:
    """The rays of cameras that may see the object.

    Args:
        cameras: ``b m``.
        size: (h, w) of the maps.
        pixels: ``b m r 2``, (x, y) as fractions of the image: these alone.
        radius: of the sphere around the origin that holds the object, world units.
    """
    with full_precision(cameras.intrinsics):
        rays = cameras.to(torch.float32).rays(size, None if pixels is None else pixels.float())
        bounds = [z.flatten(1) for z in intersect_sphere(rays, radius)]
    found = (rays.origins.flatten(1, 2), rays.directions.flatten(1, 2), *bounds)
    kept = _worth_rendering(bounds[2])
    if kept is not None:
        found = tuple(_taken(z, kept) for z in found)
    views, per_view = rays.origins.shape[1:3]
    return KeptRays(BoundedRays(*found), (views, per_view), size if pixels is None else None, kept)


def points_at_once(like: Tensor, limit: int, recompute: bool = False) -> int:
    """Points of each object that are evaluated at once: few on a CPU; on an accelerator all where gradients are kept,
    because chunks would save nothing, and else at most ``limit`` of all objects.

    Args:
        like: ``b ...``, whose device and number of objects count.
        limit: most points at once.
        recompute: whether the backward pass evaluates them anew, so that none are kept.
    """
    if like.device.type == "cpu":
        limit = min(CPU_CHUNK, limit)
    elif torch.is_grad_enabled() and not recompute:
        limit = 2**62
    return max(1, limit // like.shape[0])


def _worth_rendering(hit: Tensor) -> Tensor | None:
    """Indices ``b k`` of the rays that hit the sphere (``b r``), padded with others to the same k for every object.

    None stands for all rays: on an accelerator a training step has static shapes and never waits for the device, so
    that it can be captured as a CUDA graph; elsewhere rays that miss cost nothing.
    """
    if hit.device.type != "cpu" and (torch.is_grad_enabled() or torch.cuda.is_current_stream_capturing()):
        return None
    most = max(1, int(hit.sum(1).amax()))
    return hit.byte().sort(dim=1, descending=True, stable=True).indices[:, :most]


def _taken(rays: Tensor, kept: Tensor) -> Tensor:
    """Those of ``b r ...`` whose indices are ``b k``."""
    return rays.gather(1, kept.reshape(*kept.shape, *[1] * (rays.ndim - 2)).expand(-1, -1, *rays.shape[2:]))
