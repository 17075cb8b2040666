# mypy: disable-error-code="no-untyped-def,untyped-decorator"
"""Projection, sampling and merging of n views in one kernel, with no per-view sample ever written.

One program handles a block of one object's points and runs through the views. The forward pass keeps a running mean
and sum of squared deviations (Welford), so it is one pass and as stable as two. The backward pass samples every view
again and adds its gradient to the four corners by atomics. Sums are float32 whatever the maps' dtype.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.rendering.precision import full_precision

LARGEST_FEATURES = 256
"""More feature channels than this would not fit one program's registers."""

BLOCK_VALUES = 1024
"""Points times channels that one program handles."""


def fused_mean_variance(features: Tensor, cameras: Cameras, points: Tensor) -> Tensor:
    """Compute ``MeanVariance.forward`` on an accelerator; gradients reach the features alone.

    Args:
        features: ``b n f h w``, float32, bfloat16 or float16, any strides, f <= 256.
        cameras: ``b n``.
        points: ``b p 3``, world units.

    Returns:
        ``b p (2 f + 1)``, float32.
    """
    with full_precision(features):
        rotations = cameras.camera_to_world[..., :3, :3].flatten(-2)
        packed = torch.cat([rotations, cameras.origins, cameras.intrinsics], dim=-1).float().contiguous()
        result: Tensor = _MeanVariance.apply(features, packed, points.detach().float().contiguous())  # type: ignore[no-untyped-call]
    return result


class _MeanVariance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, cameras: Tensor, points: Tensor) -> Tensor:
        maps = features.permute(0, 1, 3, 4, 2).contiguous()
        merged: Tensor = _merge(maps, cameras, points)
        ctx.save_for_backward(maps, cameras, points, merged)
        return merged

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        maps, cameras, points, merged = ctx.saved_tensors
        total = _spread(maps, cameras, points, merged, gradients[0].float().contiguous())
        return total.permute(0, 1, 4, 2, 3).to(maps.dtype), None, None


@torch.library.custom_op("tunemv3d::mean_variance", mutates_args=())
def _merge(maps: Tensor, cameras: Tensor, points: Tensor) -> Tensor:
    """Merge views' maps ``b n h w f`` at points ``b p 3``: ``b p (2 f + 1)``."""
    b, n, h, w, f = maps.shape
    p = points.shape[1]
    merged = torch.empty(b, p, 2 * f + 1, device=maps.device, dtype=torch.float32)
    grid, blocks = _launch(b, n, p, f)
    with torch.cuda.device_of(maps):  # type: ignore[no-untyped-call]
        _forward[grid](maps, cameras, points, merged, p, h, w, **blocks)
    return merged


@_merge.register_fake
def _(maps: Tensor, cameras: Tensor, points: Tensor) -> Tensor:
    return points.new_empty(*points.shape[:2], 2 * maps.shape[-1] + 1)


@torch.library.custom_op("tunemv3d::mean_variance_backward", mutates_args=())
def _spread(maps: Tensor, cameras: Tensor, points: Tensor, merged: Tensor, gradient: Tensor) -> Tensor:
    """Spread the gradient of what was merged over the maps, ``b n h w f``, float32."""
    b, n, h, w, f = maps.shape
    p = points.shape[1]
    total = torch.zeros(maps.shape, device=maps.device, dtype=torch.float32)
    grid, blocks = _launch(b, n, p, f)
    with torch.cuda.device_of(maps):  # type: ignore[no-untyped-call]
        _backward[grid](maps, cameras, points, merged, gradient, total, p, h, w, **blocks)
    return total


@_spread.register_fake
def _(maps: Tensor, cameras: Tensor, points: Tensor, merged: Tensor, gradient: Tensor) -> Tensor:
    return torch.empty_like(maps, dtype=torch.float32)


def _launch(b: int, n: int, p: int, f: int) -> tuple[tuple[int, int], dict[str, int]]:
    """Return the grid and what a kernel is compiled for: views, channels and the blocks' sizes."""
    channels = max(16, triton.next_power_of_2(f))
    block = max(16, BLOCK_VALUES // channels)
    return (triton.cdiv(p, block), b), {"N": n, "F": f, "BLOCK_P": block, "BLOCK_F": channels, "num_warps": 4}


@triton.jit
def _project(camera, px, py, pz, inside, h, w):
    """Return cell coordinates of points in one view (cell centres at integers), and whether the view sees them."""
    dx = px - tl.load(camera + 9)
    dy = py - tl.load(camera + 10)
    dz = pz - tl.load(camera + 11)
    x = dx * tl.load(camera + 0) + dy * tl.load(camera + 3) + dz * tl.load(camera + 6)
    y = dx * tl.load(camera + 1) + dy * tl.load(camera + 4) + dz * tl.load(camera + 7)
    z = dx * tl.load(camera + 2) + dy * tl.load(camera + 5) + dz * tl.load(camera + 8)
    ahead = inside & (z > 1e-4)
    z = tl.where(ahead, z, 1.0)
    u = x / z * tl.load(camera + 12) + tl.load(camera + 14)
    v = y / z * tl.load(camera + 13) + tl.load(camera + 15)
    visible = ahead & (u >= 0) & (u <= 1) & (v >= 0) & (v <= 1)
    return tl.where(visible, u * w - 0.5, 0.0), tl.where(visible, v * h - 0.5, 0.0), visible


@triton.jit
def _corner(x, y, visible, step_x, step_y, h, w):
    """Return index, bilinear weight and validity of one of the four cells around each point."""
    cell_x = tl.floor(x) + step_x
    cell_y = tl.floor(y) + step_y
    valid = visible & (cell_x >= 0) & (cell_x < w) & (cell_y >= 0) & (cell_y < h)
    weight = (1 - tl.abs(x - cell_x)) * (1 - tl.abs(y - cell_y))
    return cell_y.to(tl.int32) * w + cell_x.to(tl.int32), tl.where(valid, weight, 0.0), valid


@triton.jit
def _sample_view(
    view, x, y, visible, channels, real, h, w, F: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_F: tl.constexpr
):
    """Sample one view's features at points, ``BLOCK_P BLOCK_F``, with zeros outside the image."""
    sample = tl.zeros((BLOCK_P, BLOCK_F), tl.float32)
    for corner in tl.static_range(4):
        cell, weight, valid = _corner(x, y, visible, corner % 2, corner // 2, h, w)
        where = cell[:, None] * F + channels[None, :]
        value = tl.load(view + where, mask=valid[:, None] & real[None, :], other=0.0)
        sample += weight[:, None] * value.to(tl.float32)
    return sample


@triton.jit
def _forward(
    maps,
    cameras,
    points,
    merged,
    p,
    h,
    w,
    N: tl.constexpr,
    F: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_F: tl.constexpr,
):
    b = tl.program_id(1).to(tl.int64)
    which = tl.program_id(0).to(tl.int64) * BLOCK_P + tl.arange(0, BLOCK_P)
    inside = which < p
    row = b * p + which
    channels = tl.arange(0, BLOCK_F)
    real = channels < F
    px = tl.load(points + row * 3 + 0, mask=inside, other=0.0)
    py = tl.load(points + row * 3 + 1, mask=inside, other=0.0)
    pz = tl.load(points + row * 3 + 2, mask=inside, other=0.0)

    count = tl.zeros((BLOCK_P,), tl.float32)
    mean = tl.zeros((BLOCK_P, BLOCK_F), tl.float32)
    squares = tl.zeros((BLOCK_P, BLOCK_F), tl.float32)
    for i in range(N):
        x, y, visible = _project(cameras + (b * N + i) * 16, px, py, pz, inside, h, w)
        view = maps + (b * N + i) * h * w * F
        sample = _sample_view(view, x, y, visible, channels, real, h, w, F, BLOCK_P, BLOCK_F)
        counts = visible.to(tl.float32)
        count += counts
        off = (sample - mean) * counts[:, None]
        mean += off / tl.maximum(count, 1.0)[:, None]
        squares += off * (sample - mean)

    out = merged + row[:, None] * (2 * F + 1) + channels[None, :]
    in_range = inside[:, None] & real[None, :]
    tl.store(out, mean, mask=in_range)
    tl.store(out + F, squares / tl.maximum(count, 1.0)[:, None], mask=in_range)
    tl.store(merged + row * (2 * F + 1) + 2 * F, count / N, mask=inside)


@triton.jit
def _backward(
    maps,
    cameras,
    points,
    merged,
    gradient,
    total,
    p,
    h,
    w,
    N: tl.constexpr,
    F: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_F: tl.constexpr,
):
    b = tl.program_id(1).to(tl.int64)
    which = tl.program_id(0).to(tl.int64) * BLOCK_P + tl.arange(0, BLOCK_P)
    inside = which < p
    row = b * p + which
    channels = tl.arange(0, BLOCK_F)
    real = channels < F
    px = tl.load(points + row * 3 + 0, mask=inside, other=0.0)
    py = tl.load(points + row * 3 + 1, mask=inside, other=0.0)
    pz = tl.load(points + row * 3 + 2, mask=inside, other=0.0)

    at = row[:, None] * (2 * F + 1) + channels[None, :]
    in_range = inside[:, None] & real[None, :]
    mean = tl.load(merged + at, mask=in_range, other=0.0)
    share = tl.load(merged + row * (2 * F + 1) + 2 * F, mask=inside, other=0.0)
    each = 1 / tl.maximum(share * N, 1.0)[:, None]
    of_mean = tl.load(gradient + at, mask=in_range, other=0.0) * each
    of_variance = tl.load(gradient + at + F, mask=in_range, other=0.0) * each
    # Rays that miss the object send no gradient; their points all lie in one cell, where atomics would queue.
    inside = inside & (tl.sum(tl.abs(of_mean) + tl.abs(of_variance), axis=1) != 0)
    for i in range(N):
        x, y, visible = _project(cameras + (b * N + i) * 16, px, py, pz, inside, h, w)
        offset = (b * N + i) * h * w * F
        sample = _sample_view(maps + offset, x, y, visible, channels, real, h, w, F, BLOCK_P, BLOCK_F)
        # The mean's own dependence on the sample drops out of the variance: deviations add up to zero.
        of_sample = of_mean + 2 * (sample - mean) * of_variance
        for corner in tl.static_range(4):
            cell, weight, valid = _corner(x, y, visible, corner % 2, corner // 2, h, w)
            where = cell[:, None] * F + channels[None, :]
            mask = valid[:, None] & real[None, :]
            tl.atomic_add(total + offset + where, weight[:, None] * of_sample, mask=mask, sem="relaxed")
