"""Splatting of Gaussians in plain PyTorch: EWA projection, lists of tiles, compositing front to back.

Static shapes and no waiting for the device: a training step can be captured as a CUDA graph. Axes: g Gaussians of an
object, k of them in a tile's list, s tiles, p pixels of a tile.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.rendering.volume import MIN_OPACITY, RayOutputs

NEAR_PLANE = 0.01
"""Depth below which Gaussians are not splatted, world units."""

MAX_OPACITY = 0.99
"""Largest opacity of a Gaussian at a pixel."""


@dataclass(frozen=True)
class Gaussians:
    """Gaussians of b objects.

    Attributes:
        means: ``b g 3``, world units.
        axes: ``b g 3 3``, columns: the principal axes in the world, as long as a standard deviation. The covariance
            is ``axes axes^T``.
        opacities: ``b g``, 0 to 1.
        values: ``b g v``, at full opacity.
    """

    means: Tensor
    axes: Tensor
    opacities: Tensor
    values: Tensor


@dataclass(frozen=True)
class Splats:
    """Gaussians projected into m cameras; lengths in pixels.

    Attributes:
        centres: ``b m g 2``, (x, y).
        conics: ``b m g 3``, the inverse covariance's xx, xy and yy.
        reaches: ``b m g``, the largest variance.
        depths: ``b m g``, z in the camera.
        opacities: ``b m g``, 0 where a Gaussian is not in front of the camera.
    """

    centres: Tensor
    conics: Tensor
    reaches: Tensor
    depths: Tensor
    opacities: Tensor


def project(gaussians: Gaussians, cameras: Cameras, size: tuple[int, int], blur: float) -> Splats:
    """Project by the affine approximation at each mean (Zwicker et al., EWA Splatting, 2001).

    Args:
        gaussians: of b objects.
        cameras: ``b m``.
        size: (h, w) of the maps, which says how large a pixel is.
        blur: added to the variances, squared pixels.
    """
    b, g = gaussians.opacities.shape
    rotations = cameras.camera_to_world[..., :3, :3].mT
    scale = in_pixels(size, cameras.intrinsics)
    focal, centre = cameras.intrinsics[..., None, :2] * scale, cameras.intrinsics[..., None, 2:] * scale
    in_camera = (gaussians.means[:, None] - cameras.origins[:, :, None]) @ rotations.mT
    in_front = in_camera[..., 2] > NEAR_PLANE
    depths = torch.where(in_front, in_camera[..., 2], 1.0)
    slopes = in_camera[..., :2] / depths[..., None]
    # One product for all Gaussians of a camera: m 3 3 with 3 (g 3).
    axes = rotations @ gaussians.axes.permute(0, 2, 1, 3).reshape(b, 1, 3, g * 3)
    axes = torch.unflatten(axes, -1, (g, 3)).transpose(2, 3)
    flat = (axes[..., :2, :] - slopes[..., None] * axes[..., 2:, :]) * (focal / depths[..., None])[..., None]
    xx, yy = (flat.square().sum(-1) + blur).unbind(-1)
    xy = (flat[..., 0, :] * flat[..., 1, :]).sum(-1)
    determinant = xx * yy - xy.square()
    with torch.no_grad():
        half = (xx + yy) / 2
        reaches = half + (half.square() - determinant).clamp(min=0).sqrt()
    conics = torch.stack([yy, -xy, xx], dim=-1) / determinant[..., None]
    return Splats(slopes * focal + centre, conics, reaches, depths, gaussians.opacities[:, None] * in_front)


@torch.no_grad()
def list_tiles(splats: Splats, tiles: tuple[int, int], size: tuple[int, int], count: int) -> Tensor:
    """List the Gaussians that each tile composites, nearest first: indices ``b m s k``.

    At a distance d from its centre a Gaussian covers no more than ``opacity exp(-d^2 / (2 largest variance))``. Those
    that may cover most of any of a tile's pixels are kept.

    Args:
        splats: of g Gaussians.
        tiles: rows and columns, evenly over the map, row by row.
        size: (h, w) of the map.
        count: k, as many as there are at most.
    """
    rows, columns = tiles
    x, y = splats.centres.unbind(-1)
    across, down = _squared_distances(x, columns, size[1]), _squared_distances(y, rows, size[0])
    scale = -0.5 / splats.reaches[:, :, None]
    peak = splats.opacities.clamp(min=1e-12).log()[:, :, None]
    cover = ((down * scale + peak)[:, :, :, None] + (across * scale)[:, :, None]).flatten(2, 3)
    chosen = cover.topk(min(count, cover.shape[-1]), dim=-1, sorted=False).indices
    order = _gather_gaussians(splats.depths[..., None], chosen)[..., 0].argsort(dim=-1)
    return chosen.gather(-1, order)


def splat(splats: Splats, values: Tensor, listed: Tensor, pixels: Tensor, tile_of: Tensor | None = None) -> RayOutputs:
    """Composite each pixel's list, front to back.

    Args:
        splats: of g Gaussians.
        values: ``b g v``.
        listed: ``b m s k``, from ``list_tiles``.
        pixels: ``b m s p 2``, (x, y) of pixel centres in pixels, tile by tile.
        tile_of: ``b m s'``, which tile's list is used for each group of ``pixels`` (then ``b m s' p 2``).

    Returns:
        Outputs ``b m s p``; depth is the mean z of the centres.
    """
    geometry = torch.cat([splats.centres, splats.conics, splats.opacities[..., None], splats.depths[..., None]], dim=-1)
    values = values[:, None].expand(-1, listed.shape[1], -1, -1)
    lists = _gather_gaussians(geometry, listed), _gather_gaussians(values, listed)
    geometry, values = lists if tile_of is None else tuple(_gather_tiles(z, tile_of) for z in lists)
    x, y, a, b, c, opacity, depth = (z[..., None, :] for z in geometry.unbind(-1))
    dx, dy = pixels[..., :1] - x, pixels[..., 1:] - y
    exponents = dx * (-0.5 * a * dx - b * dy) - 0.5 * c * dy.square()
    alpha = (opacity * exponents.exp()).clamp(max=MAX_OPACITY)
    log_step = torch.log1p(-alpha)
    log_transmittance = log_step.cumsum(-1)
    weights = (log_transmittance - log_step).exp() * alpha
    total = -torch.expm1(log_transmittance[..., -1])
    mean = (weights * depth).sum(-1) / total.clamp(min=MIN_OPACITY)
    return RayOutputs(weights @ values, total, torch.where(total > MIN_OPACITY, mean, 0.0))


def in_pixels(size: tuple[int, int], like: Tensor) -> Tensor:
    """Return (w, h), the pixels per unit of (x, y), made on the device: a CUDA graph can hold no transfer to it."""
    return torch.cat([like.new_full((1,), size[1]), like.new_full((1,), size[0])])


def _squared_distances(position: Tensor, tiles: int, length: int) -> Tensor:
    """Return squared distances ``b m tiles g`` of positions ``b m g`` from even intervals of [0, length]."""
    half = length / tiles / 2
    middles = (torch.arange(tiles, device=position.device, dtype=position.dtype) * 2 + 1) * half
    return ((position[:, :, None] - middles[:, None]).abs() - half).clamp(min=0).square()


def _gather_gaussians(given: Tensor, index: Tensor) -> Tensor:
    """Gather ``b m s k c`` of ``b m g c`` at indices ``b m s k``."""
    flat = index.flatten(2)[..., None].expand(-1, -1, -1, given.shape[-1])
    return torch.unflatten(given.gather(2, flat), 2, index.shape[2:])


def _gather_tiles(given: Tensor, index: Tensor) -> Tensor:
    """Gather the lists ``b m s' k c`` of ``b m s k c`` at tiles ``b m s'``."""
    flat = index[..., None].expand(-1, -1, -1, given.shape[3] * given.shape[4])
    return torch.unflatten(given.flatten(3).gather(2, flat), 3, given.shape[3:])
