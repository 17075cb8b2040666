"""Small fields for tests."""

import torch
from torch import nn

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.ports import FieldPorts
from tunemv3d_neus.aggregator import MeanVariance
from tunemv3d_neus.field import NeuSField
from tunemv3d_neus.spec import MeanVarianceSpec, NeuSSpec

FEATURES, VALUES = 6, 4


def small_field(aggregator: nn.Module | None = None, **options: object) -> NeuSField:
    merge = MeanVarianceSpec(type="mean-variance")
    chosen = {"hidden": 16, "samples": 24, "eikonal_points": 32} | options
    spec = NeuSSpec(type="neus", aggregator=merge, **chosen)  # type: ignore[arg-type]
    ports = FieldPorts(features=FEATURES, gives=spec.gives, values=spec.values or VALUES)
    return NeuSField(spec, ports, aggregator or MeanVariance(FEATURES)).eval()


def small_views(objects: int = 2, views: int = 3, size: int = 8) -> tuple[torch.Tensor, Cameras]:
    features = torch.randn(objects, views, FEATURES, size, size)
    return features, Cameras.orbit(views)[None].expand(objects, views)


def randomize_zero_init(module: torch.nn.Module) -> None:
    """Give every parameter that starts at zero a random value, as training would."""
    with torch.no_grad():
        for parameter in module.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1)
