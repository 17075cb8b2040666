import math

import pytest
import torch
from density_fixtures import FEATURES, randomize_zero_init, small_field, small_views
from pydantic import ValidationError
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from tunemv3d_core.assemble import build_component
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import PortsError
from tunemv3d_core.ports import BackbonePorts, BuildContext, Neighbours, ViewEncoderPorts
from tunemv3d_core.rendering.rays import culling
from tunemv3d_core.slots import HasSurface, Scene
from tunemv3d_density.network import BALL
from tunemv3d_density.spec import DensitySpec


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("t", [0.0, 999.0])
def test_starts_as_a_white_ball_whatever_the_features_and_t(t: float) -> None:
    features, cameras = small_views()
    scene = small_field().fuse(features * 100, cameras, torch.full((2,), t))
    points = torch.randn(2, 300, 3)
    expected = [10 * math.log1p(math.exp(10 * (BALL - math.hypot(*p)))) for p in points[0].tolist()]
    assert scene.density(points)[0].tolist() == pytest.approx(expected, rel=1e-4)
    rendering = scene.render(cameras, (4, 4))
    assert not rendering.values.any()
    middle, corner = rendering.opacity[..., 1, 1], rendering.opacity[..., 0, 0]
    assert (middle > 0.99).all() and (corner < 0.1).all()


def test_a_ray_sees_the_integral_of_the_density() -> None:
    """Compared with the attenuation through the first ball, integrated by the trapezoidal rule in float64."""
    features, _ = small_views(objects=1)
    camera = Cameras.look_at(torch.tensor([[[0.0, -2.0, 0.0]]]))
    scene = small_field(samples=256, slope=3.0).fuse(features, camera.expand(1, 3), torch.zeros(1))
    for x in (0.3, 0.5, 0.7):
        seen = scene.render(camera, (1, 1), torch.tensor([[[[x, 0.5]]]]))
        tilt = (x - 0.5) / 1.3
        z = torch.linspace(1.0, 3.0, 200_001, dtype=torch.float64)
        radius = ((tilt * z).square() + (z - 2).square()).sqrt()
        density = 3 * torch.log1p(torch.exp(3 * (BALL - radius))) * (radius <= 1)
        depth = float(torch.trapezoid(density, z)) * math.hypot(1, tilt)
        assert float(seen.opacity.detach()) == pytest.approx(1 - math.exp(-depth), abs=2e-3)


def test_it_has_no_surface_but_normals_where_it_hit() -> None:
    features, cameras = small_views()
    scene = small_field().fuse(features, cameras, torch.zeros(2))
    assert isinstance(scene, Scene) and not isinstance(scene, HasSurface) and scene.losses() == {}
    seen = scene.render(cameras, (9, 9), normals=True)
    assert seen.normals is not None
    # The middle ray of a ball: the normal looks back along it.
    back = -cameras.camera_to_world[..., :3, 2]
    torch.testing.assert_close(seen.normals[..., 4, 4], back, rtol=0, atol=2e-2)
    assert not seen.normals.permute(0, 1, 3, 4, 2)[seen.opacity < 1e-3].any()


def test_only_values_know_the_view_direction() -> None:
    field = small_field()
    randomize_zero_init(field)
    features, cameras = small_views(objects=1, views=2)
    renderings = []
    for factor in (100.0, 0.0):
        with torch.no_grad():
            field.network.value_direction.weight.mul_(factor)
        renderings.append(field.fuse(features, cameras, torch.zeros(1)).render(cameras, (6, 6)))
    torch.testing.assert_close(renderings[0].opacity, renderings[1].opacity, rtol=0, atol=0)
    assert (renderings[0].values - renderings[1].values).abs().max() > 1e-3


def test_chunks_change_nothing() -> None:
    features, cameras = small_views()
    whole, pieces = small_field(), small_field(chunk_size=100)
    randomize_zero_init(whole)
    pieces.load_state_dict(whole.state_dict())
    t = torch.tensor([10.0, 800.0])
    one, other = (f.fuse(features, cameras, t).render(cameras, (6, 5), normals=True) for f in (whole, pieces))
    for name in ("values", "opacity", "depth", "normals"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=1e-4, atol=1e-5)


def test_autocast_keeps_the_density_in_float32() -> None:
    features, cameras = small_views()
    field = small_field()
    with torch.autocast("cpu", torch.bfloat16):
        rendering = field.fuse(features.bfloat16(), cameras, torch.zeros(2)).render(cameras, (8, 8))
    assert rendering.values.dtype == rendering.opacity.dtype == rendering.depth.dtype == torch.float32
    plain = field.fuse(features, cameras, torch.zeros(2)).render(cameras, (8, 8))
    torch.testing.assert_close(rendering.opacity, plain.opacity, rtol=1e-5, atol=1e-6)


def test_features_are_rendered_in_their_own_channels() -> None:
    field = small_field(gives="features", values=7)
    assert (field.ports.gives, field.ports.values) == ("features", 7)
    features, cameras = small_views()
    seen = field.fuse(features, cameras, torch.zeros(2)).render(cameras, (5, 6))
    assert seen.values.shape == (2, 3, 7, 5, 6) and seen.values.any()


def train_on_fakes() -> None:
    with FakeTensorMode():
        field = small_field(samples=6).train()
        cameras = Cameras(torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4))
        scene = field.fuse(torch.randn(2, 3, FEATURES, 8, 8), cameras, torch.zeros(2))
        whole, some = scene.render(cameras, (8, 8)), scene.render(cameras, (8, 8), torch.rand(2, 3, 7, 2))
        assert some.values.shape == (2, 3, 4, 7)
        (whole.values.mean() + some.depth.mean()).backward()


def test_a_training_step_on_an_accelerator_is_static() -> None:
    """Nothing depends on numbers, so that the step can be captured as a CUDA graph: fake tensors hold none."""
    with pytest.raises(DataDependentOutputException):
        train_on_fakes()  # a CPU leaves out the rays that miss
    with culling(False):
        train_on_fakes()


def test_what_makes_no_sense_is_refused() -> None:
    merge = {"type": "density", "aggregator": {"type": "mean-variance"}}
    for options, told in (({"gives": "features"}, "'values'"), ({"values": 3}, "'values'"), ({"slope": 0}, "slope")):
        with pytest.raises(ValidationError, match=told):
            DensitySpec.model_validate(merge | options)
    spec, context = DensitySpec.model_validate(merge), BuildContext(torch.device("cpu"))
    backbone = BackbonePorts(4, 32, 4, 12, (), "epsilon", 1000)
    with pytest.raises(PortsError, match="no view_encoder"):
        build_component("field", spec, Neighbours(backbone), context)
    ports = build_component("field", spec, Neighbours(backbone, ViewEncoderPorts(5)), context).ports
    assert (ports.features, ports.gives, ports.values) == (5, "latents", 4)
