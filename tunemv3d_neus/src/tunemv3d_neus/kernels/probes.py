"""Smallest calls of the kernels, forward and backward: they show whether the compiler and the device take them."""

import functools

import torch

from tunemv3d_core.cameras import Cameras
from tunemv3d_neus.kernels.fallback import succeeds
from tunemv3d_neus.kernels.mean_variance import fused_mean_variance
from tunemv3d_neus.kernels.resnetfc import resnetfc
from tunemv3d_neus.kernels.resnetfc_weights import Shape, Weights

POINTS, RAYS = 64, 16


def probe_mean_variance(device: torch.device) -> None:
    """Aggregate features of two views at some points, and differentiate."""
    features = torch.zeros(1, 2, 16, 4, 4, device=device, requires_grad=True)
    cameras = Cameras.orbit(2).to(device)[None]
    with torch.enable_grad():
        merged = fused_mean_variance(features, cameras, torch.zeros(1, POINTS, 3, device=device))
        torch.autograd.grad(merged.sum(), features)


@functools.cache
def resnetfc_runs(device: torch.device, shape: Shape) -> bool:
    """Return whether a network of a shape compiles and runs, forward and backward."""
    return succeeds(lambda: _probe_resnetfc(device, shape))


def _probe_resnetfc(device: torch.device, shape: Shape) -> None:
    h, k, a, v = shape.hidden, shape.blocks, shape.aggregated, shape.values

    def zeros(*size: int) -> torch.Tensor:
        return torch.zeros(size, device=device)

    weights = Weights(
        w_in=zeros(h, 6 + 6 * shape.frequencies),
        bias_x=zeros(k + 1, h),
        w_latent=zeros(shape.latent_blocks, h, a),
        w0=zeros(k, h, h),
        bias_y=zeros(1, k, h),
        w1=zeros(k, h, h),
        w_distance=zeros(h),
        w_value=zeros(h // 2, h),
        b_value=zeros(h // 2),
        w_direction=zeros(h // 2, 3),
        w_out=zeros(v, h // 2),
        w_agg=zeros(1 + v, a),
    )
    points, directions = torch.zeros(1, POINTS, 3, device=device), torch.ones(1, RAYS, 3, device=device)
    aggregated = torch.ones(1, POINTS, a, device=device, requires_grad=True)
    with torch.enable_grad():
        sdf, values = resnetfc(points, directions, aggregated, weights, 1.0, 0.5, 1.0, shape.dtype)
        torch.autograd.grad(sdf.sum() + values.sum(), aggregated)
