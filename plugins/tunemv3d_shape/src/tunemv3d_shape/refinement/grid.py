"""A signed distance and colours on a dense grid, rendered as NeuS renders (Wang et al. 2021)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding_bag, logsigmoid, pad

from tunemv3d_core.cameras import Rays, intersect_sphere
from tunemv3d_shape.surface import HALF, RADIUS

EVEN, FINE = 64, 24
"""Points of a ray that only find the surface, and points near it that are composited."""

NOTHING = 1e-3
"""Opacity below which a ray hit nothing."""


@dataclass(frozen=True)
class Seen:
    """What rays see.

    Attributes:
        colours: ``r 3``, without a ground behind them.
        opacity: ``r``.
        depth: ``r``, 0 where nothing was hit.
    """

    colours: Tensor
    opacity: Tensor
    depth: Tensor


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
        self.register_buffer("corners", torch.tensor(steps), persistent=False)

    @property
    def cell(self) -> float:
        """Side of a cell, world units."""
        return 2 * HALF / (self.side - 1)

    def distance(self, points: Tensor) -> Tensor:
        """Points ``p 3`` to signed distances ``p``."""
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
        """The cell's corners around each point, as rows of the tables ``p 8``, and their weights ``p 8``."""
        place = ((points + HALF) / self.cell).clamp(0, self.side - 1.001)
        low = place.floor()
        share = torch.stack([1 - (place - low), place - low], dim=-1)
        weights = share[:, 0, :, None, None] * share[:, 1, None, :, None] * share[:, 2, None, None, :]
        i, j, k = low.long().unbind(-1)
        return ((i * self.side + j) * self.side + k)[:, None] + self.corners, weights.reshape(-1, 8)

    @staticmethod
    def _mixed(table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
        # Several times faster than grid_sample on a CPU, forward and backward.
        return embedding_bag(rows, table, per_sample_weights=weights, mode="sum")


def gradient(nearby: Tensor, cell: float) -> Tensor:
    """Gradients ``p 3`` from the distances of ``Grid.nearby``."""
    return (nearby[:, 1::2] - nearby[:, 2::2]) / (2 * cell)


def render_rays(grid: Grid, rays: Rays, sharpness: float, generator: torch.Generator | None = None) -> Seen:
    """Render rays ``r``.

    Args:
        grid: what is rendered.
        rays: directions with z = 1 in the camera, so that distances are depths.
        sharpness: the inverse width of the surface, NeuS's s.
        generator: moves the points at random within their strata; None leaves them in the middle.
    """
    near, far, hit = intersect_sphere(rays, RADIUS)
    with torch.no_grad():
        even = _even_depths(near, far, EVEN, generator)
        found = grid.distance(_on(rays, even).reshape(-1, 3)).reshape(even.shape)
        depths = _depths_near_surface(found, even, rays, sharpness, generator)
    distances, colours = grid.both(_on(rays, depths).reshape(-1, 3))
    distances = torch.where(hit[:, None], distances.reshape(depths.shape), 1.0)
    return composite(distances, colours.reshape(*depths.shape, 3), depths, sharpness)


def composite(distances: Tensor, colours: Tensor, depths: Tensor, sharpness: float) -> Seen:
    """Add up what rays see, front to back, by NeuS's discrete opacity of the sections between points ``r s``."""
    logs = logsigmoid(sharpness * distances)
    passed = (logs[:, 1:] - logs[:, :-1]).clamp(max=0)
    total = passed.cumsum(-1)
    weights = (total - passed).exp() * -torch.expm1(passed)
    halves = 0.5 * (pad(weights, (0, 1)) + pad(weights, (1, 0)))
    opacity = -torch.expm1(total[:, -1])
    depth = (halves * depths).sum(-1) / opacity.clamp(min=NOTHING)
    return Seen((halves[..., None] * colours).sum(1), opacity, torch.where(opacity > NOTHING, depth, 0.0))


def _on(rays: Rays, depths: Tensor) -> Tensor:
    """Points ``r s 3`` at depths ``r s``."""
    return rays.origins[:, None] + depths[..., None] * rays.directions[:, None]


def _even_depths(near: Tensor, far: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """Depths ``r count`` from near to far, ascending."""
    steps = torch.arange(count, device=near.device).expand(*near.shape, count) + _moves(near, count, generator) - 0.5
    return near[:, None] + (far - near)[:, None] * (steps / (count - 1)).clamp(0, 1)


def _depths_near_surface(
    found: Tensor, even: Tensor, rays: Rays, sharpness: float, generator: torch.Generator | None
) -> Tensor:
    """Depths ``r FINE``, ascending, drawn where a surface may be between the even ones, by inverse transform.

    Between two points a distance falls by no more than the way gone; the opacity that this allows, behind what the
    points before let through, is a section's share.
    """
    lengths = even.diff(dim=-1) * rays.directions.norm(dim=-1, keepdim=True)
    lowest = torch.minimum((found[:, :-1] + found[:, 1:] - lengths) / 2, found[:, 1:])
    logs = logsigmoid(sharpness * found)
    through = pad((logs[:, 1:] - logs[:, :-1]).clamp(max=0).cumsum(-1)[:, :-1], (1, 0)).exp()
    possible = -torch.expm1((logsigmoid(sharpness * lowest) - logs[:, :-1]).clamp(max=0))
    reached = pad((through * possible + 1e-4).cumsum(-1), (1, 0))
    reached = reached / reached[:, -1:]
    drawn = (torch.arange(FINE, device=even.device) + _moves(even[:, 0], FINE, generator)) / FINE
    section = torch.searchsorted(reached, drawn, right=True).clamp(1, EVEN - 1)
    low, high = reached.gather(-1, section - 1), reached.gather(-1, section)
    near, far = even.gather(-1, section - 1), even.gather(-1, section)
    return near + (far - near) * ((drawn - low) / (high - low)).clamp(0, 1)


def _moves(like: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """Places within strata, ``r count`` in [0, 1): random, or the middle."""
    if generator is None:
        return torch.full((*like.shape, count), 0.5, device=like.device)
    return torch.rand(*like.shape, count, generator=generator).to(like.device)
