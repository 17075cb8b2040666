"""Small fields for tests: one that can learn, and one whose surface is given by a formula."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.ports import FieldPorts
from tunemv3d_neus.aggregator import MeanVariance
from tunemv3d_neus.field import NeuSField, NeuSScene
from tunemv3d_neus.spec import MeanVarianceSpec, NeuSSpec

FEATURES, VALUES = 6, 4


def small_field(aggregator: nn.Module | None = None, **options: object) -> NeuSField:
    merge = MeanVarianceSpec(type="mean-variance")
    chosen = {"hidden": 16, "samples": 24, "eikonal_points": 32} | options
    spec = NeuSSpec(type="neus", aggregator=merge, **chosen)  # type: ignore[arg-type]
    ports = FieldPorts(features=FEATURES, gives=spec.gives, values=spec.values or VALUES)
    return NeuSField(spec, ports, aggregator or MeanVariance(FEATURES)).eval()


class FormulaNetwork(nn.Module):
    """Stands in for ``NeuSNetwork``: signed distances and values are formulas of the points alone."""

    def __init__(self, distance: Callable[[Tensor], Tensor], value: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.distance, self.value = distance, value

    def embed(self, t: Tensor) -> Tensor:
        return t[:, None, None]

    def trunk(self, points: Tensor, aggregated: Tensor, time: Tensor) -> Tensor:
        return points

    def signed_distance(self, points: Tensor, hidden: Tensor, aggregated: Tensor) -> Tensor:
        return self.distance(points)

    def values(self, hidden: Tensor, aggregated: Tensor, directions: Tensor) -> Tensor:
        return self.value(hidden)


def wavy(points: Tensor) -> Tensor:
    """Four values that change along every axis."""
    return torch.cat([torch.sin(3 * points), points.sum(-1, keepdim=True)], dim=-1)


def formula_scene(distance: Callable[[Tensor], Tensor], objects: int = 1, **options: object) -> NeuSScene:
    """The scene of a field whose signed distance is ``distance(points: b p 3) -> b p``; its values are ``wavy``."""
    field = small_field(**options)
    field.network = FormulaNetwork(distance, wavy)  # type: ignore[assignment]
    field.requires_grad_(False)
    features, cameras = small_views(objects)
    return field.fuse(features, cameras, torch.zeros(objects))


def sphere(points: Tensor, radius: float = 0.5) -> Tensor:
    return points.norm(dim=-1) - radius


def box(points: Tensor, half: tuple[float, float, float]) -> Tensor:
    """The exact signed distance of the box of half-edges ``half`` around the origin."""
    beyond = points.abs() - points.new_tensor(half)
    return beyond.clamp(min=0).norm(dim=-1) + beyond.amax(-1).clamp(max=0)


def small_views(objects: int = 2, views: int = 3, size: int = 8) -> tuple[torch.Tensor, Cameras]:
    features = torch.randn(objects, views, FEATURES, size, size)
    return features, Cameras.orbit(views)[None].expand(objects, views)


def wake(module: torch.nn.Module) -> None:
    """Give every parameter that starts at zero a random value, as training would."""
    with torch.no_grad():
        for parameter in module.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1)
