"""Scenes whose surface is given by a formula."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tunemv3d_core.rendering.sdf_scene import SDFScene
from tunemv3d_core.rendering.spec import SDFFieldSpec


@dataclass(frozen=True)
class Formula:
    """An ``SDF`` with values that are ``wavy``."""

    distance: Callable[[Tensor], Tensor]

    def query(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        return self.distance(points), wavy(points)

    def signed_distance(self, points: Tensor) -> Tensor:
        return self.distance(points)


def wavy(points: Tensor) -> Tensor:
    """Four values that change along every axis."""
    return torch.cat([torch.sin(3 * points), points.sum(-1, keepdim=True)], dim=-1)


def formula_scene(
    distance: Callable[[Tensor], Tensor], objects: int = 1, variance: float = 0.3, **options: object
) -> SDFScene:
    """The scene of b objects whose signed distance is ``distance(points: ... 3) -> ...``."""
    spec = SDFFieldSpec.model_validate({"type": "formula", "samples": 24, "eikonal_points": 32} | options)
    return SDFScene(Formula(distance), torch.tensor(variance), spec, torch.zeros(objects))


def sphere(points: Tensor, radius: float = 0.5) -> Tensor:
    return points.norm(dim=-1) - radius


def box(points: Tensor, half: tuple[float, float, float]) -> Tensor:
    """The exact signed distance of the box of half-edges ``half`` around the origin."""
    beyond = points.abs() - points.new_tensor(half)
    return beyond.clamp(min=0).norm(dim=-1) + beyond.amax(-1).clamp(max=0)
