"""Splatting by gsplat's kernels, where it is installed (``pip install tunemv3d-gaussians[gsplat]``)."""

from importlib.util import find_spec

import torch
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.rendering.volume import MIN_OPACITY, RayOutputs
from tunemv3d_gaussians.splat import NEAR_PLANE, Gaussians, in_pixels

INSTALLED = find_spec("gsplat") is not None


def usable(like: Tensor) -> bool:
    """Return whether gsplat works for tensors like this one; it waits for the device, which a CUDA graph must not."""
    return INSTALLED and like.is_cuda and not torch.cuda.is_current_stream_capturing()


def splat(gaussians: Gaussians, cameras: Cameras, size: tuple[int, int], blur: float) -> RayOutputs:
    """Splat whole maps of cameras ``b m`` as pixels ``b m (h w)``, row by row; ``blur`` as for ``project``."""
    from gsplat import rasterization

    (h, w), scale = size, in_pixels(size, cameras.intrinsics)
    focal, centre = cameras.intrinsics[..., :2] * scale, cameras.intrinsics[..., 2:] * scale
    matrix = torch.cat([torch.diag_embed(focal), centre[..., None]], dim=-1)
    matrix = torch.cat([matrix, matrix.new_tensor([0.0, 0.0, 1.0]).expand_as(matrix[..., :1, :])], dim=-2)
    world_to_camera = torch.linalg.inv(cameras.camera_to_world)
    parts = []
    for i in range(len(gaussians.means)):
        colours, opacity, _ = rasterization(
            means=gaussians.means[i],
            quats=None,
            scales=None,
            opacities=gaussians.opacities[i],
            colors=gaussians.values[i],
            viewmats=world_to_camera[i],
            Ks=matrix[i],
            width=w,
            height=h,
            near_plane=NEAR_PLANE,
            eps2d=blur,
            packed=False,
            render_mode="RGB+ED",
            covars=gaussians.axes[i] @ gaussians.axes[i].mT,
        )
        depth = torch.where(opacity[..., 0] > MIN_OPACITY, colours[..., -1], 0.0)
        parts.append((colours[..., :-1].flatten(1, 2), opacity[..., 0].flatten(1), depth.flatten(1)))
    return RayOutputs(*(torch.stack(z) for z in zip(*parts, strict=True)))
