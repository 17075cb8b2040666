import pytest
import torch
from gaussians_naive import VALUES, small_field

from tunemv3d_core.cameras import Cameras, intersect_sphere
from tunemv3d_core.slots import HasSurface, Scene
from tunemv3d_core.testing import fields
from tunemv3d_core.testing.fields import FEATURES, randomize_zero_init, small_views
from tunemv3d_gaussians.scene import _normals
from tunemv3d_gaussians.spec import GaussiansSpec


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("t", [0.0, 999.0])
def test_starts_as_a_soft_white_ball_whatever_the_features_and_t(t: float) -> None:
    field = small_field(depths=24)
    features, cameras = small_views(views=4, size=16)
    scene = field.fuse(features * 100, cameras, torch.full((2,), t))
    assert isinstance(scene, Scene) and not isinstance(scene, HasSurface)
    seen = scene.render(cameras, (16, 16), normals=True)
    assert not seen.values.any(), "values start white"
    assert (seen.opacity[..., 7:9, 7:9] > 0.95).all() and (seen.opacity[..., 0, :] < 0.05).all()
    # The ball of radius 0.5 is seen from 2.7 away, and is soft.
    assert ((seen.depth[..., 7:9, 7:9] > 2.2) & (seen.depth[..., 7:9, 7:9] < 2.6)).all()
    assert seen.normals is not None
    assert ((seen.normals[..., 7:9, 7:9] * -cameras.camera_to_world[..., :3, 2, None, None]).sum(2) > 0.5).all()


def test_normals_of_a_ball_point_away_from_its_middle() -> None:
    cameras = Cameras.orbit(2)[None]
    rays = cameras.rays((24, 24))
    near, _, hit = intersect_sphere(rays, 0.8)
    points = (rays.origins + near[..., None] * rays.directions).mT.unflatten(-1, (24, 24))
    inner = torch.nn.functional.max_pool2d(1 - hit.float().unflatten(-1, (24, 24)), 3, stride=1, padding=1) == 0
    normals = _normals(points, cameras)
    assert inner.sum() > 300
    assert ((normals * points / 0.8).sum(2)[inner] > 0.97).all()


def test_each_pixel_puts_its_gaussian_on_its_own_ray_within_the_sphere() -> None:
    field = small_field(radius=0.9)
    randomize_zero_init(field)
    features, cameras = small_views()
    gaussians = field.fuse(features, cameras, torch.full((2,), 500.0)).gaussians
    solid = (gaussians.opacities > 0).unflatten(1, (3, 64))
    assert solid.any() and not solid.all(), "pixels beside the sphere have none"
    means = gaussians.means.unflatten(1, (3, 64))
    for view in range(3):
        pixels, depth = cameras[:, view].project(means[:, view])
        expected = torch.stack(torch.meshgrid(*[(torch.arange(8) + 0.5) / 8] * 2, indexing="xy"), dim=-1).reshape(64, 2)
        at = solid[:, view]
        torch.testing.assert_close(pixels[at], expected.expand(2, -1, -1)[at], rtol=1e-4, atol=1e-4)
        assert (depth[at] > 0).all()
    # A correction may leave the sphere by no more than one of its steps along the ray.
    assert (means.norm(dim=-1)[solid] < 0.9 + 2 * 0.9 / 6).all()


def test_a_spot_that_all_views_show_is_found_by_the_density() -> None:
    """What all views show at one point has the largest mean there, and the skip connection makes that place dense."""
    spot = torch.tensor([0.2, -0.1, 0.3])
    cameras = Cameras.orbit(6, elevation=[10.0, 30.0] * 3)[None]
    pixels, _ = cameras.project(spot[None, None].expand(1, 6, 1, 3))
    cells = torch.stack(torch.meshgrid(*[(torch.arange(16) + 0.5) / 16] * 2, indexing="xy"), dim=-1)
    away = (cells - pixels[:, :, 0, None, None]).norm(dim=-1)
    features = torch.zeros(1, 6, FEATURES, 16, 16)
    features[:, :, 0] = torch.exp(-(away**2) / 0.005)
    field = small_field(depths=32)
    with torch.no_grad():
        field.network.density.skip.weight[0, 0] = 8.0
        field.network.density.fc_out.bias.fill_(-5.0)
    scene = field.fuse(features, cameras, torch.zeros(1))
    seen = scene.render(cameras, (16, 16), pixels)
    _, expected = cameras.project(spot[None, None].expand(1, 6, 1, 3))
    torch.testing.assert_close(seen.depth, expected, rtol=0, atol=0.12)


def test_order_of_views_does_not_matter_and_novel_cameras_of_another_number() -> None:
    field = small_field()
    randomize_zero_init(field)
    features, cameras = small_views()
    t, novel = torch.full((2,), 300.0), Cameras.orbit(5, elevation=40.0)[None].expand(2, 5)
    seen = field.fuse(features, cameras, t).render(novel, (4, 6))
    assert seen.values.shape == (2, 5, VALUES, 4, 6) and seen.depth.shape == (2, 5, 4, 6)
    order = torch.tensor([2, 0, 1])
    again = field.fuse(features[:, order], cameras[:, order], t).render(novel, (4, 6))
    torch.testing.assert_close(again.values, seen.values, rtol=1e-4, atol=1e-5)


def test_pixels_are_the_maps_cells_however_long_the_lists() -> None:
    field = small_field(listed=40, tile=2)
    randomize_zero_init(field)
    features, cameras = small_views()
    scene = field.fuse(features, cameras, torch.tensor([10.0, 800.0]))
    maps = scene.render(cameras, (8, 12), normals=True)
    pixels = torch.tensor([[0.5 / 12, 2.5 / 8], [3.5 / 12, 3.5 / 8]]).expand(2, 3, 2, 2)
    some = scene.render(cameras, (8, 12), pixels, normals=True)
    for name in ("values", "opacity", "depth", "normals"):
        whole, at_pixels = getattr(maps, name), getattr(some, name)
        expected = torch.stack([whole[..., 2, 0], whole[..., 3, 3]], dim=-1)
        torch.testing.assert_close(at_pixels, expected, rtol=1e-4, atol=1e-5)


def test_it_takes_any_aggregator() -> None:
    field = small_field(aggregator={"type": "visibility", "hidden": 5})
    assert field.network.density.skip.in_features == field.aggregator.channels
    assert any(name.startswith("aggregator.") for name, _ in field.named_parameters())
    assert GaussiansSpec(type="gaussians") == GaussiansSpec.model_validate(
        {"type": "gaussians", "aggregator": {"type": "mean-variance"}}
    )


def test_the_noise_level_matters() -> None:
    fields.assert_noise_level_matters(small_field())


def test_autocast_keeps_geometry_in_float32() -> None:
    fields.assert_float32_under_autocast(small_field())


def test_a_training_step_is_static() -> None:
    fields.assert_static_training_step(small_field(listed=20))
