"""Small fields for tests."""

import torch
from torch import nn

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.ports import FieldPorts
from tunemv3d_volume.field import VolumeField
from tunemv3d_volume.spec import VolumeSpec

FEATURES, VALUES = 6, 4


def small_field(**options: object) -> VolumeField:
    chosen = {"type": "volume", "cells": 8, "channels": [8, 16], "eikonal_points": 32}
    spec = VolumeSpec.model_validate(chosen | options)
    ports = FieldPorts(features=FEATURES, gives=spec.gives, values=spec.values or VALUES)
    return VolumeField(spec, ports).eval()


def small_views(objects: int = 2, views: int = 3, size: int = 8) -> tuple[torch.Tensor, Cameras]:
    features = torch.randn(objects, views, FEATURES, size, size)
    return features, Cameras.orbit(views)[None].expand(objects, views)


def randomize_zero_init(module: nn.Module) -> None:
    """Give every parameter that starts at zero a random value, as training would."""
    with torch.no_grad():
        for parameter in module.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1)
