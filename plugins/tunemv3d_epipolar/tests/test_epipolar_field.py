import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from tunemv3d_core.cameras import Cameras, sphere_points
from tunemv3d_core.rendering.view_features import ViewFeatures, sample_view_features
from tunemv3d_core.slots import HasSurface, Scene
from tunemv3d_core.testing import fields
from tunemv3d_epipolar.field import EpipolarField
from tunemv3d_epipolar.network import INITIAL_RADIUS, SLOPE
from tunemv3d_epipolar.spec import EpipolarSpec

TINY = {"hidden": 16, "heads": 2, "samples": 8}


def small_field(awake: bool = False, **options: object) -> EpipolarField:
    field: EpipolarField = fields.small_field("epipolar", **(TINY | options))
    if awake:
        fields.randomize_zero_init(field)
    return field


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def views() -> tuple[Tensor, Cameras]:
    """Five views that are not square, so near that none sees all points of the unit sphere; the last sees none."""
    eyes = sphere_points([0.1, 1.9, 3.0, 4.4, 5.0], [0.3, -0.2, 0.8, 0.1, 0.0]) * 1.8
    targets = torch.stack([torch.zeros(3)] * 4 + [2 * eyes[4]])
    looking = Cameras.look_at(eyes, target=targets)
    lens = torch.tensor([1.1, 1.4, 0.45, 0.55]).expand(1, 5, 4)
    return torch.randn(1, 5, fields.FEATURES, 5, 7), Cameras(looking.camera_to_world[None], lens)


def naively_seen(features: Tensor, cameras: Cameras, point: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return the features of the views that see a point and the directions in which they see it, in float64."""
    found = []
    for view, pose, lens in zip(features[0].double(), cameras.camera_to_world[0], cameras.intrinsics[0], strict=True):
        x, y, z = (pose[:3, :3].double().T @ (point.double() - pose[:3, 3].double())).tolist()
        fx, fy, cx, cy = lens.tolist()
        u, v = fx * x / z + cx, fy * y / z + cy
        if z <= 0 or not (0 <= u <= 1 and 0 <= v <= 1):
            continue
        h, w = view.shape[1:]
        column, row = u * w - 0.5, v * h - 0.5
        sample = torch.zeros(len(view), dtype=torch.float64)
        for i in range(h):
            for j in range(w):
                sample += max(0.0, 1 - abs(row - i)) * max(0.0, 1 - abs(column - j)) * view[:, i, j]
        offset = point.double() - pose[:3, 3].double()
        found.append((sample, offset / offset.norm()))
    return found


@torch.no_grad()
def test_points_pool_and_blend_what_the_views_that_see_them_show(views: tuple[Tensor, Cameras]) -> None:
    network = small_field(awake=True).network
    torch.nn.init.zeros_(network.density.weight)
    points, directions = torch.randn(1, 40, 3) * 0.4, torch.nn.functional.normalize(torch.randn(1, 40, 3), dim=-1)
    points[0, 0] = torch.tensor([0.0, 0.0, 9.0])  # seen by none
    seen = sample_view_features(*views, points)
    hidden, density = network.points(points, seen, torch.zeros(1))
    blended = network.blend(hidden, directions, seen)
    queries = network.query(hidden)[0].double().unflatten(-1, (2, -1))
    counts = set()
    for p in range(40):
        found = naively_seen(*views, points[0, p])
        n = len(found)
        counts.add(n)
        mean = sum((f for f, _ in found), torch.zeros(fields.FEATURES, dtype=torch.float64)) / max(n, 1)
        variance = sum(((f - mean) ** 2 for f, _ in found), torch.zeros_like(mean)) / max(n, 1)
        pooled = torch.cat([mean, variance, torch.tensor([n / (n + 1)])])
        change = float(network.density_agg.weight[0].double() @ pooled + network.density.bias.double())
        inner = SLOPE * (INITIAL_RADIUS - math.hypot(*points[0, p].tolist()) + change)
        assert float(density[0, p]) == pytest.approx(SLOPE * math.log1p(math.exp(inner)), rel=1e-3, abs=1e-6)
        d = directions[0, p].double()
        keys = [torch.cat([f, d - e, (d @ e)[None]]) for f, e in found]
        heads = []
        for query in queries[p]:
            weights = [math.exp(float(query @ key) / math.sqrt(len(key))) for key in keys]
            heads.append(sum((w * f for w, (f, _) in zip(weights, found, strict=True)), torch.zeros(fields.FEATURES)))
            heads[-1] = heads[-1] / max(sum(weights), 1e-9)
        torch.testing.assert_close(blended[0, p].double(), torch.cat(heads).double(), rtol=1e-3, atol=1e-5)
    assert counts >= {0, 1, 4}


@pytest.mark.parametrize("t", [0.0, 999.0])
def test_starts_as_a_white_ball_whatever_the_features_and_t(t: float) -> None:
    """Compared with the attenuation through the first ball, integrated by the trapezoidal rule in float64."""
    camera = Cameras.look_at(torch.tensor([[[0.0, -2.0, 0.0]]]))
    features, _ = fields.small_views(objects=1)
    scene = small_field(samples=256).fuse(100 * features, camera.expand(1, 3), torch.full((1,), t))
    assert isinstance(scene, Scene) and not isinstance(scene, HasSurface) and scene.losses() == {}
    for x in (0.5, 0.8, 0.9):
        seen = scene.render(camera, (1, 1), torch.tensor([[[[x, 0.5]]]]), normals=True)
        tilt = (x - 0.5) / 1.3
        z = torch.linspace(1.0, 3.0, 200_001, dtype=torch.float64)
        radius = ((tilt * z).square() + (z - 2).square()).sqrt()
        density = SLOPE * torch.log1p(torch.exp(SLOPE * (INITIAL_RADIUS - radius))) * (radius <= 1)
        depth = float(torch.trapezoid(density, z)) * math.hypot(1, tilt)
        assert float(seen.opacity.detach()) == pytest.approx(1 - math.exp(-depth), abs=2e-3)
        assert not seen.values.any() and seen.normals is None


def along(
    field: EpipolarField, seen: ViewFeatures, points: Tensor, directions: Tensor, rays: int
) -> tuple[Tensor, Tensor]:
    """Densities and values ``p`` and ``p v`` of points ``1 p 3`` cut into rays, which have directions ``1 rays 3``."""
    density, values = field.network(points.unflatten(1, (rays, -1)), directions, seen, torch.zeros(1))
    return density.flatten(), values.flatten(0, 2)


def test_all_rays_meet_one_density_and_each_has_values_of_its_own(views: tuple[Tensor, Cameras]) -> None:
    field, points = small_field(awake=True), torch.randn(1, 24, 3) * 0.4
    seen = sample_view_features(*views, points)
    directions = torch.nn.functional.normalize(torch.randn(2, 1, 6, 3), dim=-1)
    density, values = along(field, seen, points, directions[0, :, :3], 3)
    for other, rays in ((directions[1, :, :3], 3), (directions[0], 6)):
        same, others = along(field, seen, points, other, rays)
        torch.testing.assert_close(same, density, rtol=1e-5, atol=1e-6)
        assert (others - values).abs().mean() > 1e-3


def test_samples_of_a_ray_heed_one_another_and_rays_do_not(views: tuple[Tensor, Cameras]) -> None:
    field, points = small_field(awake=True), torch.randn(1, 24, 3) * 0.4
    points[:, 10] = 0  # the third sample of the second ray: all views but the last see it
    directions = torch.nn.functional.normalize(torch.randn(1, 3, 3), dim=-1)
    seen = sample_view_features(*views, points)
    changed = seen.features.clone()
    changed[:, 10] += seen.visible[:, 10, :, None]
    density, values = along(field, seen, points, directions, 3)
    new_density, new_values = along(field, ViewFeatures(changed, seen.directions, seen.visible), points, directions, 3)
    assert ((new_density - density).abs() > 1e-6).nonzero().flatten().tolist() == [10]
    moved = (new_values - values).abs().amax(-1) > 1e-5
    assert moved[8:16].all() and not moved[:8].any() and not moved[16:].any()


def test_the_order_of_views_and_those_that_see_nothing_do_not_matter(views: tuple[Tensor, Cameras]) -> None:
    field, (features, cameras), t = small_field(awake=True), views, torch.full((1,), 300.0)
    query = Cameras.orbit(2, azimuth=33.0)[None]
    shown = field.fuse(features, cameras, t).render(query, (6, 9))
    order, loud = [2, 0, 4, 3, 1], features.clone()
    loud[:, 4] = 1e4
    turned = field.fuse(features[:, order], cameras[:, order], t).render(query, (6, 9))
    fewer = field.fuse(features[:, :4], cameras[:, :4], t).render(query, (6, 9))
    louder = field.fuse(loud, cameras, t).render(query, (6, 9))
    for other in (turned, fewer, louder):
        for name in ("values", "opacity", "depth"):
            torch.testing.assert_close(getattr(other, name), getattr(shown, name), rtol=1e-4, atol=1e-5)
    three = field.fuse(features[:, :3], cameras[:, :3], t).render(query, (6, 9))
    assert (three.values - shown.values).abs().max() > 1e-3


def test_the_attention_and_the_transformer_move_values_alone() -> None:
    field = small_field()
    fields.assert_direction_moves_values_alone(field, field.network.query)
    fields.assert_direction_moves_values_alone(field, field.network.rays.layers[0].linear1)


def test_features_are_rendered_in_their_own_channels() -> None:
    field = small_field(gives="features", values=7)
    assert (field.ports.gives, field.ports.values) == ("features", 7)
    features, cameras = fields.small_views()
    seen = field.fuse(features, cameras, torch.zeros(2)).render(cameras, (5, 6))
    assert seen.values.shape == (2, 3, 7, 5, 6) and seen.values.any()


def test_the_noise_level_matters() -> None:
    fields.assert_noise_level_matters(small_field())


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    fields.assert_chunks_agree(small_field(), small_field(chunk_size=100))
    (features, cameras), field = fields.small_views(), small_field(awake=True)
    scene = field.fuse(features, cameras, torch.zeros(2))
    shown = scene.render(cameras, (6, 5))
    monkeypatch.setattr("tunemv3d_epipolar.field.MOST_RAYS", 7)
    torch.testing.assert_close(scene.render(cameras, (6, 5)).values, shown.values, rtol=1e-4, atol=1e-5)


def test_autocast_keeps_the_density_in_float32() -> None:
    fields.assert_float32_under_autocast(small_field())


def test_a_training_step_is_static() -> None:
    fields.assert_static_training_step(small_field())


def test_what_makes_no_sense_is_refused() -> None:
    for options, expected in (({"values": 3}, "'values'"), ({"hidden": 18, "heads": 4}, "multiple of heads")):
        with pytest.raises(ValidationError, match=expected):
            EpipolarSpec.model_validate({"type": "epipolar"} | TINY | options)
