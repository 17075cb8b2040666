"""Splatting as loops over numpy float64: every Gaussian at every pixel, one by one; and small fields for tests."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.testing import fields
from tunemv3d_gaussians.field import GaussiansField
from tunemv3d_gaussians.splat import Gaussians

VALUES = 4


def small_field(**options: object) -> GaussiansField:
    field: GaussiansField = fields.small_field("gaussians", **({"hidden": 16, "depths": 6, "listed": 4096} | options))
    return field


def random_gaussians(objects: int, count: int, values: int = 3) -> Gaussians:
    means = torch.randn(objects, count, 3)
    means = means / means.norm(dim=-1, keepdim=True) * torch.rand(objects, count, 1) * 0.9
    axes = torch.linalg.qr(torch.randn(objects, count, 3, 3)).Q * (0.02 + 0.15 * torch.rand(objects, count, 1, 3))
    return Gaussians(means, axes, torch.rand(objects, count), torch.randn(objects, count, values))


def naive(
    gaussians: Gaussians, cameras: Cameras, size: tuple[int, int], pixels: Tensor, blur: float = 0.1
) -> NDArray[np.float64]:
    """Values, opacity and depth of one object's Gaussians at pixels ``m r 2`` (fractions): ``m r (v + 2)``."""
    means, axes, opacities, values = (
        z[0].double().numpy() for z in (gaussians.means, gaussians.axes, gaussians.opacities, gaussians.values)
    )
    scale = np.array([size[1], size[0]], dtype=np.float64)
    found = []
    for pose, lens, at in zip(
        cameras.camera_to_world.double().numpy(),
        cameras.intrinsics.double().numpy(),
        pixels.double().numpy(),
        strict=True,
    ):
        rotation, focal, middle = pose[:3, :3].T, lens[:2] * scale, lens[2:] * scale
        seen = []
        for mean, own, opacity, value in zip(means, axes, opacities, values, strict=True):
            x, y, z = rotation @ (mean - pose[:3, 3])
            jacobian = np.array([[focal[0] / z, 0, -focal[0] * x / z**2], [0, focal[1] / z, -focal[1] * y / z**2]])
            flat = jacobian @ rotation @ own @ own.T @ rotation.T @ jacobian.T + blur * np.eye(2)
            centre = focal * np.array([x, y]) / z + middle
            seen.append((z, centre, np.linalg.inv(flat), opacity, value))
        seen.sort(key=lambda each: each[0])
        for pixel in at * scale:
            light, total, opaque, depth = 1.0, np.zeros(values.shape[1]), 0.0, 0.0
            for z, centre, inverse, opacity, value in seen:
                away = pixel - centre
                alpha = min(0.99, opacity * np.exp(-0.5 * away @ inverse @ away))
                total, opaque, depth = total + light * alpha * value, opaque + light * alpha, depth + light * alpha * z
                light *= 1 - alpha
            found.append([*total, opaque, depth / max(opaque, 1e-3) if opaque > 1e-3 else 0.0])
    return np.array(found).reshape(*pixels.shape[:2], -1)
