"""What fields share: ports, layers that start at zero, grids, ray coordinates, static shapes."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import PortsError
from tunemv3d_core.layers import zero_init
from tunemv3d_core.ports import BackbonePorts, FieldPorts, Neighbours, ViewEncoderPorts
from tunemv3d_core.rendering.build import field_ports
from tunemv3d_core.rendering.encoding import plucker_coordinates
from tunemv3d_core.rendering.points import cell_centres
from tunemv3d_core.rendering.rays import cull_rays, culling
from tunemv3d_core.rendering.spec import SDFFieldSpec

BACKBONE = BackbonePorts(4, 32, 4, 12, (), "epsilon", 1000)


def test_ports_come_from_the_neighbours() -> None:
    neighbours = Neighbours(BACKBONE, ViewEncoderPorts(5))
    assert field_ports("mine", neighbours) == FieldPorts(5, "latents", 4)
    assert field_ports("mine", neighbours, "features", 7, novel_views=False) == FieldPorts(5, "features", 7, False)
    with pytest.raises(PortsError, match="field 'mine' needs features: the model has no view_encoder"):
        field_ports("mine", Neighbours(BACKBONE))


@pytest.mark.parametrize("options", [{"gives": "features"}, {"values": 3}])
def test_values_are_given_with_features_and_not_without(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="'values' is given exactly when gives = 'features'"):
        SDFFieldSpec.model_validate({"type": "mine"} | options)
    assert SDFFieldSpec.model_validate({"type": "mine", "gives": "features", "values": 3}).values == 3


def test_layers_start_at_zero() -> None:
    module = zero_init(nn.Sequential(nn.Linear(3, 2), nn.Conv2d(2, 2, 1)))
    assert isinstance(module, nn.Sequential) and not any(bool(p.any()) for p in module.parameters())


def test_cell_centres_run_over_x_first() -> None:
    grid = cell_centres(4, 0.5, torch.device("cpu")).reshape(4, 4, 4, 3)
    assert grid[0, 1, 3].tolist() == pytest.approx([-0.375, -0.125, 0.375])


def test_plucker_coordinates_are_lines_through_the_camera_and_the_cell() -> None:
    cameras = Cameras.orbit(3, elevation=[0.0, 20.0, 70.0])[None]
    direction, moment = plucker_coordinates(cameras.rays((4, 6)), (4, 6)).split(3, dim=2)
    points = cameras.origins[..., None, None] + 1.7 * direction
    torch.testing.assert_close(torch.linalg.cross(points, direction, dim=2), moment, rtol=1e-4, atol=1e-5)
    pixels, _ = cameras.project(points.flatten(3).mT)
    torch.testing.assert_close(pixels[0, 0, 7], torch.tensor([1.5 / 6, 1.5 / 4]), rtol=1e-4, atol=1e-5)


def test_culling_depends_on_numbers_and_rendering_all_rays_does_not() -> None:
    with FakeTensorMode():
        cameras = Cameras(torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4))
        with pytest.raises(DataDependentOutputException):
            cull_rays(cameras, (8, 8))
        with culling(False):
            assert cull_rays(cameras, (8, 8)).rays.valid.shape == (2, 3 * 64)
