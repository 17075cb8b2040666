"""Objects whose surface and colours are known by formula: what meshers and mesh renderers are asked about."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tunemv3d_core.cameras import Cameras, Rays, intersect_sphere
from tunemv3d_core.slots import Pictures, TexturedMesh

PIXELS = 64

ROWS, COLUMNS, TEXELS = 16, 32, 64
"""Of an ellipsoid's mesh, and texels along the side of its texture."""

RED = (0.8, 0.2, 0.1)

RAMP = 0.4
"""How much a colour grows from the middle to an end: red along x, green along y, blue along z."""


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid along the axes, painted in one colour or, red, green and blue, by the place in x, y and z.

    Attributes:
        axes: half of its length, depth and height, world units.
        centre: of it.
        colour: of all of it; None where the place decides.
    """

    axes: tuple[float, float, float]
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    colour: tuple[float, float, float] | None = None

    def signed_distance(self, points: Tensor) -> Tensor:
        """``... 3`` to ``...``: 0 on the surface, where it grows by 1 per world unit; exact everywhere for a sphere."""
        axes, inside = self._scaled(points)
        length = inside.norm(dim=-1)
        distance: Tensor = length * (length - 1) / (inside / axes).norm(dim=-1).clamp(min=1e-9)
        return distance

    def normals(self, points: Tensor) -> Tensor:
        """``... 3`` to ``... 3``: outward, unit, those of the surface through each point."""
        axes, inside = self._scaled(points)
        return torch.nn.functional.normalize(inside / axes, dim=-1)

    def colours(self, points: Tensor) -> Tensor:
        """``... 3`` to ``... 3``, sRGB in 0 to 1."""
        if self.colour is not None:
            return torch.tensor(self.colour).to(points).expand_as(points)
        return (0.5 + RAMP * self._scaled(points)[1]).clamp(0, 1)

    def hits(self, rays: Rays) -> tuple[Tensor, Tensor]:
        """Return the depths ``...`` at which rays meet it, and whether they do."""
        axes, origins = self._scaled(rays.origins)
        near, _, hit = intersect_sphere(Rays(origins, rays.directions / axes))
        return near, hit

    def pictures(self, cameras: Cameras) -> Pictures:
        """Draw cameras ``m`` by intersecting every pixel's ray."""
        rays = cameras.rays((PIXELS, PIXELS))
        depth, hit = self.hits(rays)
        colours = self.colours(rays.origins + depth[..., None] * rays.directions) * hit[..., None]
        square = (PIXELS, PIXELS)
        return Pictures(torch.unflatten(colours.mT, -1, square), torch.unflatten(hit.float(), -1, square), cameras)

    def mesh(self) -> TexturedMesh:
        """Return triangles between parallels and meridians; the texture's rows are parallels, the top's first."""
        i, j = np.meshgrid(np.arange(ROWS + 1), np.arange(COLUMNS + 1), indexing="ij")
        points = self._at(i[:, :-1] / ROWS, j[:, :-1] / COLUMNS)
        corners = i * (COLUMNS + 1) + j
        a, b, c, d = corners[:-1, :-1], corners[1:, :-1], corners[1:, 1:], corners[:-1, 1:]
        # At the poles two corners are one point.
        below, above = np.stack([a, b, c], -1)[:-1], np.stack([a, c, d], -1)[1:]
        uv_faces = np.concatenate([below, above]).reshape(-1, 3).astype(np.int32)
        uv_vertices = (i * COLUMNS + j % COLUMNS).reshape(-1).astype(np.int32)
        rows, columns = np.meshgrid(*[(np.arange(TEXELS) + 0.5) / TEXELS] * 2, indexing="ij")
        flat = points.reshape(-1, 3)
        return TexturedMesh(
            vertices=flat.numpy(),
            faces=uv_vertices[uv_faces],
            normals=self.normals(flat).numpy(),
            colours=(self.colours(flat) * 255).round().byte().numpy(),
            uv=np.stack([j / COLUMNS, 1 - i / ROWS], -1).reshape(-1, 2).astype(np.float32),
            uv_vertices=uv_vertices,
            uv_faces=uv_faces,
            texture=(self.colours(self._at(rows, columns)) * 255).round().byte().numpy(),
        )

    def _at(self, down: NDArray[np.float64], around: NDArray[np.float64]) -> Tensor:
        """Return the points ``... 3`` at fractions of the way from the top to the bottom and around."""
        polar, azimuth = np.pi * down, 2 * np.pi * around
        round_points = np.stack([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], -1)
        return torch.from_numpy((round_points * self.axes + self.centre).astype(np.float32))

    def _scaled(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the axes, and the points in the frame in which it is the unit sphere."""
        axes = torch.tensor(self.axes).to(points)
        return axes, (points - torch.tensor(self.centre).to(points)) / axes


SPHERE = Ellipsoid((0.5, 0.5, 0.5), colour=RED)

EGG = Ellipsoid((0.45, 0.3, 0.2), (0.08, -0.06, 0.07))
"""No two of its axes are alike, and it lies off the centre to all sides."""
