"""Three planes of features: how they are made of what the views show, and how points are read off them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tunemv3d_core.rendering.encoding import embed_noise_level
from tunemv3d_core.rendering.precision import full_precision

AXES = ((0, 1), (0, 2), (1, 2))
"""The world axes that the planes xy, xz and yz span: first a plane's rows, then its columns."""

GROUP = 8
"""Channels that are normalised together; alone, a channel would forget what t adds to it."""


class PlaneMaker(nn.Module):
    """Folds a grid of points along each axis and refines the three planes that come of it.

    Args:
        aggregated: channels of what the views say at a grid point.
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

    def grid(self, radius: float, device: torch.device) -> Tensor:
        """The centres of the cells of the cube [-radius, radius]^3, ``(x y z) 3``, world units."""
        centres = ((torch.arange(self.cells, device=device) + 0.5) / self.cells * 2 - 1) * radius
        return torch.stack(torch.meshgrid(centres, centres, centres, indexing="ij"), dim=-1).flatten(0, 2)

    def forward(self, aggregated: Tensor, t: Tensor) -> Tensor:
        """Grid points ``b (x y z) a`` and noise levels ``b`` to planes ``b 3 c g g``."""
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

    Each cell also sees the means of the two lines of the other planes that cross its column of space (Rodin's 3D-aware
    convolution), so that the planes agree.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(channels // GROUP, channels)
        self.conv_in = nn.Conv2d(3 * channels, channels, 3, padding=1)
        self.norm_out = nn.GroupNorm(channels // GROUP, channels)
        self.conv_out = nn.Conv2d(channels, channels, 3, padding=1)
        for parameter in self.conv_out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, planes: Tensor, time: Tensor) -> Tensor:
        """``b 3 c g g`` and what t adds, ``b c``, to ``b 3 c g g``."""
        flat = planes.flatten(0, 1)
        seen = torch.unflatten(F.silu(self.norm_in(flat)), 0, planes.shape[:2])
        with_others = torch.cat([seen, others(seen)], dim=2).flatten(0, 1)
        inner = self.conv_in(with_others) + time.repeat_interleave(3, dim=0)[..., None, None]
        outcome: Tensor = flat + self.conv_out(F.silu(self.norm_out(inner)))
        return torch.unflatten(outcome, 0, planes.shape[:2])


def others(planes: Tensor) -> Tensor:
    """What the two other planes say of each cell's row and of its column: ``b 3 c g g`` to ``b 3 (2 c) g g``."""
    (xy_x, xz_x, yz_y), (xy_y, xz_z, yz_z) = planes.mean(4).unbind(1), planes.mean(3).unbind(1)
    rows = torch.stack([xz_x, xy_x, xy_y], dim=1)[..., :, None]
    columns = torch.stack([yz_y, yz_z, xz_z], dim=1)[..., None, :]
    return torch.cat([rows.expand_as(planes), columns.expand_as(planes)], dim=2)


def read_off(planes: Tensor, points: Tensor, radius: float) -> Tensor:
    """Read points off the planes, bilinearly, in float32; beyond them the nearest cells count.

    Args:
        planes: ``b 3 c g g`` that span [-radius, radius].
        points: ``b p 3``, world units.
        radius: world units.

    Returns:
        ``b p (3 c)``: what xy, xz and yz say.
    """
    with full_precision(points):
        places = points / radius
        # grid_sample wants the column first.
        grid = torch.stack([places[..., [column, row]] for row, column in AXES], dim=1)
        seen = F.grid_sample(
            planes.float().flatten(0, 1), grid.flatten(0, 1)[:, None], padding_mode="border", align_corners=False
        )
        return torch.unflatten(seen[:, :, 0], 0, planes.shape[:2]).flatten(1, 2).mT
