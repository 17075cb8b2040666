"""Three planes of features: made of aggregated features at a grid of points, and sampled at any point."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tunemv3d_core.layers import zero_init
from tunemv3d_core.rendering.encoding import embed_noise_level
from tunemv3d_core.rendering.precision import full_precision

AXES = ((0, 1), (0, 2), (1, 2))
"""The world axes that the planes xy, xz and yz span: first a plane's rows, then its columns."""

GROUP = 8
"""Channels that are normalised together; alone, a channel would forget what t adds to it."""


class PlaneNetwork(nn.Module):
    """Folds a grid of points along each axis and refines the resulting three planes.

    Args:
        aggregated: channels of a grid point.
        cells: g, along each side.
        folded: channels of a grid point when it is folded.
        channels: c of each plane, a multiple of 8.
        blocks: residual blocks.
    """

    def __init__(self, aggregated: int, cells: int, folded: int, channels: int, blocks: int) -> None:
        super().__init__()
        self.cells, self.channels = cells, channels
        self.fc_in = nn.Linear(aggregated, folded)
        self.fold = nn.ModuleList(nn.Linear(cells * folded, channels) for _ in AXES)
        self.time = nn.Sequential(
            nn.Linear(channels, 4 * channels), nn.SiLU(), nn.Linear(4 * channels, blocks * channels)
        )
        self.blocks = nn.ModuleList(PlaneBlock(channels) for _ in range(blocks))

    def forward(self, aggregated: Tensor, t: Tensor) -> Tensor:
        """Make planes ``b 3 c g g`` of grid points ``b (x y z) a`` and noise levels ``b``."""
        g = self.cells
        points = torch.unflatten(self.fc_in(aggregated), 1, (g, g, g))
        folded = [
            fold(points.movedim(missing, -2).flatten(-2)) for fold, missing in zip(self.fold, (3, 2, 1), strict=True)
        ]
        planes = torch.stack(folded, dim=1).movedim(-1, 2)
        added = torch.unflatten(self.time(embed_noise_level(t, self.channels)), 1, (len(self.blocks), -1))
        for k, block in enumerate(self.blocks):
            planes = block(planes, added[:, k])
        return planes


class PlaneBlock(nn.Module):
    """Two normalised 3x3 convolutions around which the planes are added; the last starts at zero.

    Each cell also gets the means of the two lines of the other planes that cross its column of space (Rodin's 3D-aware
    convolution), so that the planes agree.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(channels // GROUP, channels)
        self.conv_in = nn.Conv2d(3 * channels, channels, 3, padding=1)
        self.norm_out = nn.GroupNorm(channels // GROUP, channels)
        self.conv_out = zero_init(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, planes: Tensor, time: Tensor) -> Tensor:
        """Map planes ``b 3 c g g`` and the embedded t ``b c``, which is added, to planes ``b 3 c g g``."""
        flat = planes.flatten(0, 1)
        x = torch.unflatten(F.silu(self.norm_in(flat)), 0, planes.shape[:2])
        x = torch.cat([x, cross_plane_means(x)], dim=2).flatten(0, 1)
        inner = self.conv_in(x) + time.repeat_interleave(3, dim=0)[..., None, None]
        outcome: Tensor = flat + self.conv_out(F.silu(self.norm_out(inner)))
        return torch.unflatten(outcome, 0, planes.shape[:2])


def cross_plane_means(planes: Tensor) -> Tensor:
    """Average, for each cell, the lines of the two other planes that cross its row and its column.

    Args:
        planes: ``b 3 c g g``.

    Returns:
        ``b 3 (2 c) g g``.
    """
    (xy_x, xz_x, yz_y), (xy_y, xz_z, yz_z) = planes.mean(4).unbind(1), planes.mean(3).unbind(1)
    rows = torch.stack([xz_x, xy_x, xy_y], dim=1)[..., :, None]
    columns = torch.stack([yz_y, yz_z, xz_z], dim=1)[..., None, :]
    return torch.cat([rows.expand_as(planes), columns.expand_as(planes)], dim=2)


def sample_planes(planes: Tensor, points: Tensor, radius: float) -> Tensor:
    """Sample the planes at points, bilinearly, in float32; beyond them the nearest cells count.

    Args:
        planes: ``b 3 c g g`` that span [-radius, radius].
        points: ``b p 3``, world units.
        radius: world units.

    Returns:
        ``b p (3 c)``: features of xy, xz and yz.
    """
    with full_precision(points):
        axes = (points / radius).unbind(-1)
        # grid_sample wants the column first. No list as an index: it would be copied from the host at every call.
        grid = torch.stack([torch.stack([axes[column], axes[row]], dim=-1) for row, column in AXES], dim=1)
        samples = F.grid_sample(
            planes.float().flatten(0, 1), grid.flatten(0, 1)[:, None], padding_mode="border", align_corners=False
        )
        return torch.unflatten(samples[:, :, 0], 0, planes.shape[:2]).flatten(1, 2).mT
