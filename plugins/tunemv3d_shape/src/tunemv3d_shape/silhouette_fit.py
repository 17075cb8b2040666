"""Make a surface agree with its views' masks.

A field that saw a view as few cells keeps its distance a little above zero in thin legs, which then break into pieces,
and everything is a little too slim. The opacity of a ray is about sigmoid(-s f) of the least distance f along it
(NeuS), so a mask says of every ray whether f should be negative. A smooth correction on a coarse grid is fitted to it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, max_pool2d

from tunemv3d_core.cameras import Cameras, Rays, intersect_sphere
from tunemv3d_core.rendering.volume import sample_along_rays
from tunemv3d_core.slots import Pictures, Shape
from tunemv3d_shape.refinement.grid import Grid
from tunemv3d_shape.surface import HALF, RADIUS, all_distances, check_has_surface

CELLS = 64
"""Along the side of the correction's grid; finer ones follow the pixels and make thin parts bumpy."""

STEPS, RAYS, POINTS = 60, 2048, 64
"""Steps of the fit, rays per step, and points along each ray among which the least distance is looked for."""

SILHOUETTE_SLOPE = (60.0, 120.0)
"""NeuS's s at the first and at the last step."""

AROUND, ELSEWHERE = 32, 0.15
"""Share of a picture's width (one in ``AROUND``) whose pixels around a mask are drawn as often as the mask's, and how
often the others are."""

SMOOTH = 5.0
"""Weight of the correction's squared slope."""

PACE = 0.2
"""Distance by which one step may move the surface, cells."""


@dataclass(frozen=True)
class CorrectedShape:
    """A shape whose distance is corrected.

    Attributes:
        shape: as it was.
        correction: is added to its distance.
    """

    shape: Shape
    correction: Grid

    @torch.no_grad()
    def signed_distance(self, points: Tensor) -> Tensor:
        """``1 p 3`` to ``1 p``."""
        return self.shape.signed_distance(points) + self.correction.distance(points[0])[None]

    def pictures(self, cameras: Cameras) -> Pictures | None:
        """Render cameras ``m`` of the shape as it was."""
        return self.shape.pictures(cameras)


def fit_silhouettes(
    shape: Shape, pictures: Pictures, device: torch.device | None = None, seed: int = 0
) -> CorrectedShape:
    """The shape, corrected so that its silhouettes are the pictures' masks.

    Args:
        shape: of one object.
        pictures: its views.
        device: where to compute.
        seed: of the rays that are drawn; the same one gives the same correction on a CPU.

    Raises:
        SampleError: the shape has no inside, or its distance is not finite.
    """
    distances = all_distances(shape, CELLS, device)
    # What lies within a cell may become a surface yet.
    check_has_surface(distances, slack=2 * HALF / CELLS)
    start = torch.from_numpy(distances).to(device)
    grid = Grid(start, start.new_zeros(*start.shape, 3))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        _fit(grid, pictures, start.device)
    return CorrectedShape(shape, Grid(grid.distances.detach().reshape(start.shape) - start, grid.colours.detach()))


def _fit(grid: Grid, pictures: Pictures, device: torch.device) -> None:
    """Move the grid's distances until rays are opaque where the masks are."""
    rays = pictures.cameras.to(device).rays(pictures.size)
    rays = Rays(rays.origins.flatten(0, 1), rays.directions.flatten(0, 1))
    near, far, hit = intersect_sphere(rays, RADIUS)
    alpha = pictures.alpha.to(device)
    reach = alpha.shape[-1] // AROUND
    around = max_pool2d(alpha[:, None], 2 * reach + 1, stride=1, padding=reach).flatten() > 0
    chances = torch.where(around, 1.0, ELSEWHERE) * hit
    start = grid.distances.detach().clone()
    optimizer = torch.optim.Adam([grid.distances], lr=PACE * grid.cell, betas=(0.9, 0.99), eps=1e-12, fused=True)
    for step in range(STEPS):
        drawn = torch.multinomial(chances, RAYS, replacement=True)
        least = _least(grid, Rays(rays.origins[drawn], rays.directions[drawn]), near[drawn], far[drawn])
        slope = SILHOUETTE_SLOPE[0] * (SILHOUETTE_SLOPE[1] / SILHOUETTE_SLOPE[0]) ** (step / STEPS)
        misfit = binary_cross_entropy_with_logits(-slope * least, alpha.flatten()[drawn])
        optimizer.zero_grad()
        misfit.backward()  # type: ignore[no-untyped-call]
        correction = (grid.distances.detach() - start).reshape((grid.side,) * 3)
        assert grid.distances.grad is not None
        grid.distances.grad += SMOOTH * _gradient_of_slopes(correction, grid.cell).reshape(-1, 1)
        optimizer.step()


def _gradient_of_slopes(values: Tensor, cell: float) -> Tensor:
    """The gradient of mean squared slopes ``i j k``, which autograd takes ten times as long for."""
    gradient = torch.zeros_like(values)
    for axis in range(3):
        slopes = values.diff(dim=axis)
        slopes *= 2 / (slopes.numel() * cell**2)
        gradient.narrow(axis, 1, slopes.shape[axis]).add_(slopes)
        gradient.narrow(axis, 0, slopes.shape[axis]).sub_(slopes)
    return gradient


def _least(grid: Grid, rays: Rays, near: Tensor, far: Tensor) -> Tensor:
    """The least distance along rays ``r``; its gradient reaches only the point where it is."""
    with torch.no_grad():
        depths = sample_along_rays(near, far, POINTS, jitter=True)
        points = rays.origins[:, None] + depths[..., None] * rays.directions[:, None]
        place = grid.distance(points.reshape(-1, 3)).reshape(depths.shape).argmin(dim=1)
    return grid.distance(points[torch.arange(len(place), device=place.device), place])
