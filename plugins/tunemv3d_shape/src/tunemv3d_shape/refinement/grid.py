"""A signed distance and colours on a dense grid, rendered as NeuS renders (Wang et al. 2021)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from tunemv3d_core.cameras import Rays, intersect_sphere
from tunemv3d_core.rendering.volume import RayOutputs, composite_sdf, importance_sample, sample_along_rays
from tunemv3d_shape.surface import HALF, RADIUS

EVEN, FINE = 64, 24
"""Points of a ray that only find the surface, and points near it that are composited."""


class Grid(nn.Module):
    """Values at the corners of ``cells`` cubed cells of a cube of side 1.9, trilinear between.

    Args:
        distances: ``i j k``, world units.
        colours: ``i j k 3`` in [0, 1].
    """

    corners: Tensor

    def __init__(self, distances: Tensor, colours: Tensor) -> None:
        super().__init__()
        self.side = distances.shape[0]
        self.distances = nn.Parameter(distances.reshape(-1, 1).clone())
        self.colours = nn.Parameter(colours.reshape(-1, 3).clone())
        steps = [(i * self.side + j) * self.side + k for i in (0, 1) for j in (0, 1) for k in (0, 1)]
        self.register_buffer("corners", torch.tensor(steps, dtype=torch.int32), persistent=False)

    @property
    def cell(self) -> float:
        """Side of a cell, world units."""
        return 2 * HALF / (self.side - 1)

    def distance(self, points: Tensor) -> Tensor:
        """Points ``p 3`` to signed distances ``p``."""
        if not torch.is_grad_enabled():  # one number at a point and no gradient: here grid_sample is the faster one
            volume, places = self.distances.reshape(1, 1, *[self.side] * 3), (points / HALF).flip(-1)
            return grid_sample(
                volume, places.reshape(1, 1, 1, -1, 3), padding_mode="border", align_corners=True
            ).flatten()
        return self._mixed(self.distances, *self._around(points))[:, 0]

    def colour(self, points: Tensor) -> Tensor:
        """Points ``p 3`` to colours ``p 3``."""
        return self._mixed(self.colours, *self._around(points))

    def both(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Signed distances ``p`` and colours ``p 3``."""
        around = self._around(points)
        return self._mixed(self.distances, *around)[:, 0], self._mixed(self.colours, *around)

    def nearby(self, points: Tensor) -> Tensor:
        """Signed distances ``p 7``: of points, and one cell away along +x -x +y -y +z -z."""
        axes = torch.eye(3, device=points.device) * self.cell
        moves = torch.cat([points.new_zeros(1, 3), torch.stack([axes, -axes], dim=1).reshape(6, 3)])
        return self.distance((points[:, None] + moves).reshape(-1, 3)).reshape(-1, 7)

    def finer(self, side: int) -> "Grid":
        """The same on a grid of another number of corners along a side."""

        def resized(table: Tensor) -> Tensor:
            maps = table.detach().T.reshape(1, -1, self.side, self.side, self.side)
            larger = nn.functional.interpolate(maps, size=(side,) * 3, mode="trilinear", align_corners=True)
            return larger[0].movedim(0, -1)

        return Grid(resized(self.distances)[..., 0], resized(self.colours))

    def _around(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of the tables at the corners of each point's cell ``8p``, and its place in it ``3 p`` in [0, 1]."""
        place = ((points.T + HALF) / self.cell).clamp(0, self.side - 1.001)
        low = place.floor()
        i, j, k = low.int()
        rows = (i * self.side + j) * self.side + k + self.corners[:, None]
        return rows.reshape(-1), place - low

    @staticmethod
    def _mixed(table: Tensor, rows: Tensor, place: Tensor) -> Tensor:
        # Column by column: on a CPU several times faster than embedding_bag and grid_sample, with gradients.
        columns = []
        for column in table.unbind(-1):
            values = column.index_select(0, rows).reshape(2, 2, 2, -1)
            for share in place:
                values = torch.lerp(values[0], values[1], share)
            columns.append(values)
        return torch.stack(columns, dim=-1)


def gradient(nearby: Tensor, cell: float) -> Tensor:
    """Gradients ``p 3`` from the distances of ``Grid.nearby``."""
    return (nearby[:, 1::2] - nearby[:, 2::2]) / (2 * cell)


def render_rays(grid: Grid, rays: Rays, inv_s: float, jitter: bool = False) -> RayOutputs:
    """Render rays ``r``; the values that they see are colours, without a ground behind them.

    Args:
        grid: what is rendered.
        rays: directions with z = 1 in the camera, so that distances are depths.
        inv_s: the inverse width of the surface, NeuS's s.
        jitter: whether the points are moved at random within their strata.
    """
    near, far, hit = intersect_sphere(rays, RADIUS)
    s = near.new_tensor(inv_s)
    with torch.no_grad():
        even = sample_along_rays(near, far, EVEN, jitter)
        found = grid.distance(_on(rays, even).reshape(-1, 3)).reshape(even.shape)
        lengths = even.diff(dim=-1) * rays.directions.norm(dim=-1, keepdim=True)
        depths = importance_sample(found, even, lengths, s, FINE, jitter)
    distances, colours = grid.both(_on(rays, depths).reshape(-1, 3))
    distances = torch.where(hit[:, None], distances.reshape(depths.shape), 1.0)
    return composite_sdf(distances, colours.reshape(*depths.shape, 3), depths, s)


def _on(rays: Rays, depths: Tensor) -> Tensor:
    """Points ``r s 3`` at depths ``r s``."""
    return rays.origins[:, None] + depths[..., None] * rays.directions[:, None]
