import math

import pytest
import torch
from pydantic import ValidationError

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.slots import HasSurface, Scene
from tunemv3d_core.testing import fields
from tunemv3d_density.field import DensityField
from tunemv3d_density.network import INITIAL_RADIUS
from tunemv3d_density.spec import DensitySpec

TINY = {"aggregator": {"type": "mean-variance"}, "hidden": 16, "blocks": 2, "samples": 24}


def small_field(**options: object) -> DensityField:
    field: DensityField = fields.small_field("density", **(TINY | options))
    return field


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("t", [0.0, 999.0])
def test_starts_as_a_white_ball_whatever_the_features_and_t(t: float) -> None:
    features, cameras = fields.small_views()
    scene = small_field().fuse(features * 100, cameras, torch.full((2,), t))
    points = torch.randn(2, 300, 3)
    expected = [10 * math.log1p(math.exp(10 * (INITIAL_RADIUS - math.hypot(*p)))) for p in points[0].tolist()]
    assert scene.density(points)[0].tolist() == pytest.approx(expected, rel=1e-4)
    rendering = scene.render(cameras, (4, 4))
    assert not rendering.values.any()
    middle, corner = rendering.opacity[..., 1, 1], rendering.opacity[..., 0, 0]
    assert (middle > 0.99).all() and (corner < 0.1).all()


def test_a_ray_sees_the_integral_of_the_density() -> None:
    """Compared with the attenuation through the first ball, integrated by the trapezoidal rule in float64."""
    features, _ = fields.small_views(objects=1)
    camera = Cameras.look_at(torch.tensor([[[0.0, -2.0, 0.0]]]))
    scene = small_field(samples=256, slope=3.0).fuse(features, camera.expand(1, 3), torch.zeros(1))
    for x in (0.3, 0.5, 0.7):
        seen = scene.render(camera, (1, 1), torch.tensor([[[[x, 0.5]]]]))
        tilt = (x - 0.5) / 1.3
        z = torch.linspace(1.0, 3.0, 200_001, dtype=torch.float64)
        radius = ((tilt * z).square() + (z - 2).square()).sqrt()
        density = 3 * torch.log1p(torch.exp(3 * (INITIAL_RADIUS - radius))) * (radius <= 1)
        depth = float(torch.trapezoid(density, z)) * math.hypot(1, tilt)
        assert float(seen.opacity.detach()) == pytest.approx(1 - math.exp(-depth), abs=2e-3)


def test_it_has_no_surface_but_normals_where_it_hit() -> None:
    features, cameras = fields.small_views()
    scene = small_field().fuse(features, cameras, torch.zeros(2))
    assert isinstance(scene, Scene) and not isinstance(scene, HasSurface) and scene.losses() == {}
    seen = scene.render(cameras, (9, 9), normals=True)
    assert seen.normals is not None
    # The middle ray of a ball: the normal looks back along it.
    back = -cameras.camera_to_world[..., :3, 2]
    torch.testing.assert_close(seen.normals[..., 4, 4], back, rtol=0, atol=2e-2)
    assert not seen.normals.permute(0, 1, 3, 4, 2)[seen.opacity < 1e-3].any()


def test_features_are_rendered_in_their_own_channels() -> None:
    field = small_field(gives="features", values=7)
    assert (field.ports.gives, field.ports.values) == ("features", 7)
    features, cameras = fields.small_views()
    seen = field.fuse(features, cameras, torch.zeros(2)).render(cameras, (5, 6))
    assert seen.values.shape == (2, 3, 7, 5, 6) and seen.values.any()


def test_only_values_know_the_view_direction() -> None:
    field = small_field()
    fields.assert_direction_moves_values_alone(field, field.network.value_direction)


def test_the_noise_level_matters() -> None:
    fields.assert_noise_level_matters(small_field())


def test_chunks_change_nothing() -> None:
    fields.assert_chunks_agree(small_field(), small_field(chunk_size=100))


def test_autocast_keeps_the_density_in_float32() -> None:
    fields.assert_float32_under_autocast(small_field())


def test_a_training_step_is_static() -> None:
    fields.assert_static_training_step(small_field(samples=6))


def test_what_makes_no_sense_is_refused() -> None:
    for options, expected in (({"values": 3}, "'values'"), ({"slope": 0}, "slope")):
        with pytest.raises(ValidationError, match=expected):
            DensitySpec.model_validate({"type": "density"} | TINY | options)
