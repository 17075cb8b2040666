"""Rays of cameras that may meet the object, and maps of rendered rays."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from tunemv3d_core.cameras import Cameras, intersect_sphere
from tunemv3d_core.rendering.precision import full_precision
from tunemv3d_core.rendering.volume import RayOutputs
from tunemv3d_core.types import Rendering

CPU_CHUNK_SIZE = 8192
"""Points evaluated at once on a CPU, so that a network's intermediate results stay in the cache."""

_culling: ContextVar[bool] = ContextVar("culling", default=True)
_cpu_chunk_size: ContextVar[int] = ContextVar("cpu_chunk_size", default=CPU_CHUNK_SIZE)


@dataclass(frozen=True)
class RayBundle:
    """k rays of each object with their near and far bounds.

    Attributes:
        origins: ``b k 3``, world units.
        directions: ``b k 3``, z = 1 in the camera, so that factors along them are depths.
        nears: ``b k``, the depth at which each enters the sphere that holds the object.
        fars: ``b k``, the depth at which each leaves it.
        valid: ``b k``, whether it meets the sphere at all.
        draws: ``b k s``, random numbers of each, 0 to 1, drawn before the rays are split, so that the size of chunks
            changes no sample. None where nothing is drawn.
    """

    origins: Tensor
    directions: Tensor
    nears: Tensor
    fars: Tensor
    valid: Tensor
    draws: Tensor | None = None

    def points(self, depths: Tensor) -> Tensor:
        """Points ``b k s 3`` at depths ``b k s``, world units."""
        return self.origins[:, :, None] + depths[..., None] * self.directions[:, :, None]

    def map_chunks(
        self, render_fn: "Callable[[RayBundle], RayOutputs]", chunk_size: int, gradient_checkpointing: bool = False
    ) -> RayOutputs:
        """Render ``chunk_size`` rays of each object at once and join the results.

        With ``gradient_checkpointing`` no intermediate result is kept; the backward pass renders again.
        """

        def render_chunk(*chunk: Tensor) -> RayOutputs:
            if gradient_checkpointing and torch.is_grad_enabled():
                outputs: RayOutputs = checkpoint(lambda *rays: render_fn(RayBundle(*rays)), *chunk, use_reentrant=False)
                return outputs
            return render_fn(RayBundle(*chunk))

        rays = [self.origins, self.directions, self.nears, self.fars, self.valid]
        if self.draws is not None:
            rays.append(self.draws)
        parts = [render_chunk(*chunk) for chunk in zip(*(torch.split(z, chunk_size, dim=1) for z in rays), strict=True)]
        return RayOutputs(
            torch.cat([part.values for part in parts], dim=1),
            torch.cat([part.opacity for part in parts], dim=1),
            torch.cat([part.depth for part in parts], dim=1),
        )


@dataclass(frozen=True)
class CulledRays:
    """The rays of cameras ``b m`` that may meet the object.

    Attributes:
        rays: k of each object.
        shape: (m, rays of one camera).
        size: (h, w) of the maps; None where pixels were asked for.
        indices: ``b k``, which of an object's rays these are; None where all are.
    """

    rays: RayBundle
    shape: tuple[int, int]
    size: tuple[int, int] | None
    indices: Tensor | None

    def as_maps(self, outputs: Tensor) -> Tensor:
        """Scatter ``b k c`` to ``b m c h w``, or ``b m c r`` at pixels; 0 where a ray was culled."""
        if self.indices is not None:
            channels = outputs.shape[2]
            empty = outputs.new_zeros(outputs.shape[0], self.shape[0] * self.shape[1], channels)
            outputs = empty.scatter(1, self.indices[..., None].expand(-1, -1, channels), outputs)
        maps = torch.unflatten(outputs, 1, self.shape).mT
        return maps if self.size is None else torch.unflatten(maps, -1, self.size)

    def rendering(self, outputs: RayOutputs, dtype: torch.dtype, normals: Tensor | None = None) -> Rendering:
        """Make maps of rendered rays: values and opacity in ``dtype``, depth and normals (``b k 3``) in float32."""
        return Rendering(
            self.as_maps(outputs.values).to(dtype),
            self.as_maps(outputs.opacity[..., None]).squeeze(2).to(dtype),
            self.as_maps(outputs.depth[..., None]).squeeze(2),
            None if normals is None else self.as_maps(normals),
        )


def cull_rays(cameras: Cameras, size: tuple[int, int], pixels: Tensor | None = None, radius: float = 1.0) -> CulledRays:
    """Make the rays of cameras and cull those that miss the object's sphere.

    Args:
        cameras: ``b m``.
        size: (h, w) of the maps.
        pixels: ``b m r 2``, (x, y) as fractions of the image: these alone.
        radius: of the sphere around the origin that holds the object, world units.
    """
    with full_precision(cameras.intrinsics):
        rays = cameras.to(torch.float32).rays(size, None if pixels is None else pixels.float())
        nears, fars, valid = (z.flatten(1) for z in intersect_sphere(rays, radius))
    indices = _valid_indices(valid)
    bundle = [rays.origins.flatten(1, 2), rays.directions.flatten(1, 2), nears, fars, valid]
    if indices is not None:
        bundle = [_gather(z, indices) for z in bundle]
    views, per_view = rays.origins.shape[1:3]
    return CulledRays(RayBundle(*bundle), (views, per_view), size if pixels is None else None, indices)


@contextmanager
def culling(enabled: bool) -> Iterator[None]:
    """Switch culling on or off in this context: switched off, all rays are rendered, as in a training step on a GPU."""
    token = _culling.set(enabled)
    try:
        yield
    finally:
        _culling.reset(token)


@contextmanager
def cpu_chunks(size: int) -> Iterator[None]:
    """Evaluate so many points at once on a CPU in this context: what is only counted need not fit a cache."""
    token = _cpu_chunk_size.set(size)
    try:
        yield
    finally:
        _cpu_chunk_size.reset(token)


def points_per_chunk(like: Tensor, chunk_size: int, gradient_checkpointing: bool = False) -> int:
    """Return how many points of each object are evaluated at once.

    On a CPU few; on an accelerator all where gradients are kept, because chunks would save nothing, and else at most
    ``chunk_size`` of all objects.

    Args:
        like: ``b ...``, whose device and number of objects count.
        chunk_size: most points at once.
        gradient_checkpointing: whether the backward pass evaluates them again, so that none are kept.
    """
    if like.device.type == "cpu":
        chunk_size = min(_cpu_chunk_size.get(), chunk_size)
    elif torch.is_grad_enabled() and not gradient_checkpointing:
        chunk_size = 2**62
    return max(1, chunk_size // like.shape[0])


def _valid_indices(valid: Tensor) -> Tensor | None:
    """Return indices ``b k`` of the valid rays (``b r``), padded with others to the same k for every object.

    None stands for all rays: on an accelerator a training step has static shapes and never waits for the device, so
    that it can be captured as a CUDA graph; elsewhere rays that miss cost nothing.
    """
    if valid.device.type != "cpu" and (torch.is_grad_enabled() or torch.cuda.is_current_stream_capturing()):
        return None
    if not _culling.get():
        return None
    most = max(1, int(valid.sum(1).amax()))
    return valid.byte().sort(dim=1, descending=True, stable=True).indices[:, :most]


def _gather(rays: Tensor, indices: Tensor) -> Tensor:
    """Gather ``b k ...`` of ``b r ...`` at indices ``b k``."""
    return rays.gather(1, indices.reshape(*indices.shape, *[1] * (rays.ndim - 2)).expand(-1, -1, *rays.shape[2:]))
