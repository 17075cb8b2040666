"""Do the odd and the even views show the same object? A grid is fitted to each half, and the two are compared."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.slots import Figure, MeasuredObject, Need
from tunemv3d_eval.metrics.leave_one_out import psnr
from tunemv3d_eval.metrics.points import chamfer
from tunemv3d_eval.metrics.voxels import Voxels, bundle, fit_voxels

SIZE = 64
"""Pictures are made smaller to about so many pixels, each a cell and a half of the grid."""

FARTHEST = 2.0
"""Diameter of the unit sphere: the distance of surfaces of which one is empty."""


def split_half(images: Tensor, silhouettes: Tensor, cameras: Cameras) -> tuple[float, float]:
    """Fit a grid to every second view and one to the others, and render both from all cameras.

    Args:
        images: ``n 3 H W`` in [-1, 1], n at least 4.
        silhouettes: ``n H W``, boolean.
        cameras: ``n``, in order around the object.

    Returns:
        PSNR between the renders in dB, and the Chamfer distance of the surfaces in world units: the mean distance from
        one's points to the other's nearest, averaged over both directions.
    """
    shrink = max(1, round(min(images.shape[-2:]) / SIZE))
    images = avg_pool2d((images.clamp(-1, 1) + 1) / 2, shrink)
    masks = avg_pool2d(silhouettes[:, None].float(), shrink)[:, 0] > 0.5
    halves = [fit_voxels(images[half::2], masks[half::2], cameras[half::2]) for half in (0, 1)]
    size = (images.shape[-2], images.shape[-1])
    (one, of_one), (other, of_other) = (_rendered(half, cameras, size) for half in halves)
    apart = chamfer(of_one, of_other) if len(of_one) and len(of_other) else FARTHEST
    return float(psnr(one, other).mean()), min(apart, FARTHEST)


def _rendered(scene: Voxels, cameras: Cameras, size: tuple[int, int]) -> tuple[Tensor, NDArray[np.float32]]:
    """Renders ``n 3 H W`` in [-1, 1] on white, and the points ``p 3`` of the surface that they show."""
    rays = bundle(cameras, size)
    seen = scene.render(rays)
    pictures = (seen.values + (1 - seen.opacity)[..., None]).mT.reshape(-1, 3, *size) * 2 - 1
    points = rays.origins + seen.depth[..., None] * rays.directions
    return pictures, points[seen.opacity > 0.5].cpu().numpy()


class SplitHalf:
    """``split_half``; the field of the model has no part in it."""

    figures: Mapping[str, Figure] = {
        "split_half_psnr": Figure("PSNR between renders of two grids, fitted to half of the views each (dB)", low=0),
        "split_half_chamfer": Figure(
            "Chamfer distance of the surfaces of these two (world units, 2 where one is empty)",
            higher_is_better=False,
            low=0,
            high=FARTHEST,
        ),
    }
    needs: tuple[Need, ...] = ()

    def measure(self, sample: MeasuredObject, model: MultiviewDiffusion) -> Mapping[str, float | None]:
        """Fit twice; None of an object of fewer than four views, or whose views are all blank."""
        if len(sample.images) < 4 or not sample.silhouettes.any():
            return dict.fromkeys(self.figures)
        decibels, apart = split_half(sample.images, sample.silhouettes, sample.cameras)
        return {"split_half_psnr": decibels, "split_half_chamfer": apart}


def build_split_half(spec: ComponentSpec) -> SplitHalf:
    """Build the metric ``split-half``."""
    return SplitHalf()
