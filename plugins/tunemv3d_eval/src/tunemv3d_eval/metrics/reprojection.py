"""Do points of the surface have the same colour in all views that see them? Through the field's own depth."""

from collections.abc import Mapping
from math import log10

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, max_pool2d

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.slots import Figure, MeasuredObject, Need
from tunemv3d_core.viz.geometry import render_shape
from tunemv3d_eval.metrics.colour import oklab
from tunemv3d_eval.scoring.measure import fuse_object

SIZE = 64
"""Pictures are made smaller to about so many pixels: rendering the field at 128 takes four times as long."""

OPAQUE = 0.5
"""Opacity from which on a pixel shows the surface."""

BEHIND = 0.05
"""World units by which a point may lie off the surface that a view sees there and still be seen: one and a half pixels
of 64 in a picture of the chairs."""

STEEPEST = 6.0
"""Change of depth per pixel, in widths of a pixel, from which on neighbours lie on two surfaces: 80 degrees."""


def reprojection(
    images: Tensor, silhouettes: Tensor, opacity: Tensor, depth: Tensor, cameras: Cameras
) -> tuple[Tensor, Tensor, Tensor]:
    """Warp every view into every other by the field's depth, and compare where both see the point.

    A pixel counts where the field shows a surface that another view sees too, with the mean error over those views;
    and where a view shows the object and the field nothing, against the white ground, because there no point of space
    is behind it: views that contradict each other leave little of a field, and that little fits by chance. Pixels at
    the edge of the surface do not count, where colours and depths are mixed ones.

    Args:
        images: ``n 3 H W`` in [-1, 1], n at least 2.
        silhouettes: ``n H W``, boolean.
        opacity: of the field from the same cameras, ``n H W`` in [0, 1].
        depth: likewise, z in the camera, world units.
        cameras: ``n``.

    Returns:
        Mean squared error of colours in [0, 1], mean distance in OKLab, and the number of pixels that count.
    """
    n, _, height, width = images.shape
    colours, inner = (images.clamp(-1, 1) + 1) / 2, _inner(opacity, depth, cameras)
    missed = silhouettes & _far_from(opacity > OPAQUE)
    # The one list that a GPU has to be waited for: pixels whose points the other views are asked for.
    view, row, column = inner.nonzero(as_tuple=True)
    rays = cameras.rays((height, width))
    pixel = row * width + column
    points = rays.origins[view, pixel] + depth[view, row, column, None] * rays.directions[view, pixel]
    shown, visible = _seen_from(points, colours, inner, depth, cameras)
    visible &= view != torch.arange(n, device=view.device)[:, None]
    own, views = colours[view, :, row, column], visible.sum(0)
    weights, white = visible / views.clamp(min=1), colours.new_ones(3)
    # Every other view shows white where the field has nothing, so that one comparison stands for all.
    all_colours = colours.movedim(1, -1)
    count = (views > 0).sum() + missed.sum()
    totals = [
        (apart(shown, own) * weights).sum() + (apart(white, all_colours) * missed).sum() for apart in (_square, _apart)
    ]
    return totals[0] / count.clamp(min=1), totals[1] / count.clamp(min=1), count


def _square(one: Tensor, other: Tensor) -> Tensor:
    """Mean squared difference of colours ``... 3``."""
    return (one - other).square().mean(-1)


def _apart(one: Tensor, other: Tensor) -> Tensor:
    """Distance of colours ``... 3`` in OKLab."""
    return (oklab(one) - oklab(other)).square().sum(-1).sqrt()


def _far_from(there: Tensor) -> Tensor:
    """Pixels ``n H W`` with none of these among themselves and their eight neighbours."""
    return max_pool2d(there.float()[:, None], 3, stride=1, padding=1)[:, 0] == 0


def _inner(opacity: Tensor, depth: Tensor, cameras: Cameras) -> Tensor:
    """Pixels ``n H W`` that show a surface together with all eight neighbours."""
    far, near = (max_pool2d(sign * depth[:, None], 3, stride=1, padding=1)[:, 0] for sign in (1, -1))
    pixel = depth / (cameras.intrinsics[:, :1, None] * depth.shape[-1])
    return _far_from(opacity <= OPAQUE) & (far + near < 2 * STEEPEST * pixel)


def _seen_from(
    points: Tensor, colours: Tensor, inner: Tensor, depth: Tensor, cameras: Cameras
) -> tuple[Tensor, Tensor]:
    """Colours ``m p 3`` of points ``p 3`` in m views, and whether these see them, ``m p``."""
    pixels, distance = cameras.project(points[None])
    grid = pixels[:, None] * 2 - 1
    there = grid_sample(colours, grid, padding_mode="border", align_corners=False)[:, :, 0].mT
    surface = grid_sample(depth[:, None], grid, padding_mode="border", align_corners=False)[:, 0, 0]
    shown = grid_sample(inner[:, None].float(), grid, mode="nearest", align_corners=False)[:, 0, 0] > 0
    inside = (pixels >= 0).all(-1) & (pixels <= 1).all(-1) & (distance > 0)
    return there, inside & shown & ((distance - surface).abs() < BEHIND)


class Reprojection:
    """``reprojection`` through the field that is fused from the views."""

    figures: Mapping[str, Figure] = {
        "reprojection_psnr": Figure(
            "PSNR between views that are warped into each other by the field's depth (dB)", low=0, high=100
        ),
        "reprojection_colour": Figure(
            "distance of these pixels' colours in OKLab (0 to 1)", higher_is_better=False, low=0, high=1
        ),
    }
    needs = (Need.FIELD,)

    def measure(self, sample: MeasuredObject, model: MultiviewDiffusion) -> Mapping[str, float | None]:
        """Render the field's depth; None of an object that neither views nor field show."""
        assert sample.opacity is not None
        height, width = sample.images.shape[-2:]
        shrink = max(1, round(min(height, width) / SIZE))
        images = avg_pool2d(sample.images, shrink)
        masks = avg_pool2d(sample.silhouettes[:, None].float(), shrink)[:, 0] > 0.5
        # Pixels far from what is opaque do not count, and are most of the picture.
        size = (images.shape[-2], images.shape[-1])
        scene = fuse_object(sample, model)
        seen = render_shape(scene, sample.cameras[None], size, sample.opacity[None], normals=False)
        given = reprojection(images, masks, seen.opacity[0].float(), seen.depth[0].float(), sample.cameras)
        square, distance, count = torch.stack(given).tolist()
        if not count:
            return dict.fromkeys(self.figures)
        decibels = -10 * log10(min(1.0, max(1e-10, square)))
        return {"reprojection_psnr": decibels, "reprojection_colour": min(1.0, distance)}


def build_reprojection(spec: ComponentSpec) -> Reprojection:
    """Build the metric ``reprojection``."""
    return Reprojection()
