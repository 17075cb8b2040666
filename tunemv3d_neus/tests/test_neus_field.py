import pytest
import torch
from neus_fixtures import small_field

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.slots import HasSurface, Scene
from tunemv3d_core.testing import fields
from tunemv3d_core.testing.fields import randomize_zero_init, small_views
from tunemv3d_neus.field import AggregatedSDF
from tunemv3d_neus.network import INITIAL_RADIUS, softplus


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("t", [0.0, 400.5, 999.0])
def test_starts_as_a_sphere_whatever_the_features_and_t(t: float) -> None:
    field = small_field()
    features, cameras = small_views()
    scene = field.fuse(features * 100, cameras, torch.full((2,), t))
    assert isinstance(scene, Scene) and isinstance(scene, HasSurface)
    points = torch.randn(2, 300, 3)
    torch.testing.assert_close(scene.signed_distance(points), points.norm(dim=-1) - INITIAL_RADIUS, rtol=0, atol=0)
    assert not scene.render(cameras, (4, 4)).values.any(), "values start white"


def test_rays_that_miss_are_empty_and_order_of_views_does_not_matter() -> None:
    field = small_field(radius=0.6)
    randomize_zero_init(field)
    features, cameras = small_views()
    t = torch.full((2,), 300.0)
    seen = field.fuse(features, cameras, t).render(cameras, (8, 8))
    assert not seen.opacity[..., 0, 0].any() and not seen.values[..., 0, 0].any() and not seen.depth[..., 0, 0].any()
    order = torch.tensor([2, 0, 1])
    again = field.fuse(features[:, order], cameras[:, order], t).render(cameras, (8, 8))
    torch.testing.assert_close(again.values, seen.values, rtol=1e-4, atol=1e-5)


def test_aggregated_features_reach_distance_and_value_through_skip_connections() -> None:
    network = small_field().network
    torch.nn.init.normal_(network.distance_agg.weight)
    torch.nn.init.normal_(network.value_agg.weight)
    points, seen = torch.randn(1, 6, 3), torch.randn(1, 6, network.value_agg.in_features)
    hidden = torch.randn(1, 6, 16)
    distances = network.signed_distance(points, hidden, seen)
    expected = points.norm(dim=-1) - INITIAL_RADIUS + seen @ network.distance_agg.weight[0]
    torch.testing.assert_close(distances, expected)
    by_rays = hidden.reshape(1, 3, 2, 16), seen.reshape(1, 3, 2, -1)
    values = network.values(*by_rays, torch.zeros(1, 3, 3))
    torch.testing.assert_close(values.flatten(1, 2), seen @ network.value_agg.weight.T)


def test_without_skip_connections_features_enter_through_the_network_alone() -> None:
    field = small_field(skip_features=False)
    assert not [name for name, _ in field.named_parameters() if "_agg" in name]
    randomize_zero_init(field)
    features, cameras = small_views()
    t, points = torch.zeros(2), torch.randn(2, 50, 3) * 0.3
    first, other = (field.fuse(z, cameras, t).signed_distance(points) for z in (features, features.flip(0)))
    assert not torch.allclose(first, other)
    torch.nn.init.zeros_(field.network.latent.weight)
    first, other = (field.fuse(z, cameras, t).signed_distance(points) for z in (features, features.flip(0)))
    torch.testing.assert_close(first, other, rtol=0, atol=0)


@pytest.mark.parametrize("entrance", ["values", "input"])
def test_view_directions_change_the_surface_only_where_they_enter_with_the_coordinates(entrance: str) -> None:
    field = small_field(directions=entrance)
    randomize_zero_init(field)
    features, cameras = small_views()
    points = torch.randn(2, 1, 4, 3) * 0.3
    sdf = AggregatedSDF(field, features, cameras, field.network.embed(torch.zeros(2)))
    ways = torch.nn.functional.normalize(torch.randn(2, 2, 1, 3), dim=-1)
    (here, values), (there, others) = (sdf.query(points, way) for way in ways)
    assert torch.equal(here, there) == (entrance == "values")
    assert not torch.allclose(values, others)


def test_regularisers_measure_what_they_say() -> None:
    field = small_field(eikonal_points=512)
    features, cameras = small_views()
    losses = {name: loss.detach() for name, loss in field.fuse(features, cameras, torch.zeros(2)).losses().items()}
    assert float(losses["eikonal"]) < 1e-5, "a sphere's distance has a gradient of length 1"
    # Mean of exp(-tau |r - 1/2|) over the unit ball, of density 3 r^2.
    r = torch.linspace(0, 1, 100_001, dtype=torch.float64)
    expected = float(torch.trapezoid(3 * r**2 * torch.exp(-100 * (r - INITIAL_RADIUS).abs()), r))
    assert float(losses["sparsity"]) == pytest.approx(expected, rel=0.25)
    with torch.no_grad():
        field.network.distance.weight.normal_(std=1.0)
        assert float(field.fuse(features, cameras, torch.zeros(2)).losses()["eikonal"]) > 1e-2


def test_features_are_rendered_in_their_own_channels() -> None:
    field = small_field(gives="features", values=7, fine_samples=6)
    assert (field.ports.gives, field.ports.values) == ("features", 7)
    randomize_zero_init(field)
    features, cameras = small_views()
    seen = field.fuse(features, cameras, torch.zeros(2)).render(cameras, (5, 6))
    assert seen.values.shape == (2, 3, 7, 5, 6)
    assert (seen.values.flatten(3).std(-1) > 0).all(), "every channel shows something"
    assert not seen.values[..., 0, 0].any(), "nothing beside the sphere"


def test_training_with_further_samples_reaches_every_parameter() -> None:
    field = small_field(samples=8, fine_samples=8).train()
    randomize_zero_init(field)
    features, cameras = small_views()
    rendering = field.fuse(features, cameras, torch.zeros(2)).render(cameras, (8, 8))
    (rendering.values.square().mean() + rendering.opacity.mean() + rendering.depth.mean()).backward()
    for name, parameter in field.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_softplus_is_torchs_in_value_and_slope() -> None:
    x = torch.cat([torch.linspace(-3, 3, 4001), torch.linspace(-0.3, 0.3, 4001)]).requires_grad_()
    exact = x.detach().double().requires_grad_()
    y, reference = softplus(x), torch.nn.functional.softplus(exact, beta=100, threshold=1e9)
    torch.testing.assert_close(y.double(), reference, rtol=0, atol=2e-7)
    (slope,) = torch.autograd.grad(y.sum(), x)
    (wanted,) = torch.autograd.grad(reference.sum(), exact)
    torch.testing.assert_close(slope.double(), wanted, rtol=0, atol=2e-5)


def test_novel_cameras_of_another_number() -> None:
    features, cameras = small_views()
    novel = Cameras.orbit(5, elevation=40.0)[None].expand(2, 5)
    rendering = small_field().fuse(features, cameras, torch.zeros(2)).render(novel, (4, 6))
    assert rendering.values.shape == (2, 5, 4, 4, 6) and rendering.depth.shape == (2, 5, 4, 6)


@pytest.mark.parametrize("fine", [0, 8])
def test_gradient_checkpointing_gives_the_same_gradients_and_keeps_a_fraction(fine: int) -> None:
    features, cameras = small_views()
    target, kept, gradients = torch.randn(2, 3, 4, 8, 8), [], []
    whole = small_field(fine_samples=fine)
    randomize_zero_init(whole)
    for gradient_checkpointing in (False, True):
        field = small_field(fine_samples=fine, gradient_checkpointing=gradient_checkpointing, chunk_size=1000).train()
        field.load_state_dict(whole.state_dict())
        seen = features.clone().requires_grad_()
        sizes: list[int] = []

        def keep(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(tensor.nbytes)
            return tensor

        torch.manual_seed(7)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            rendering = field.fuse(seen, cameras, torch.tensor([50.0, 900.0])).render(cameras, (8, 8))
            loss = (rendering.values - target).square().mean() + rendering.opacity.mean()
        loss.backward()
        kept.append(sum(sizes))
        gradients.append([seen.grad, *(p.grad for p in field.parameters())])
    assert kept[1] < 0.1 * kept[0]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_pixels_are_the_maps_cells_and_chunks_change_nothing() -> None:
    fields.assert_chunks_agree(small_field(), small_field(chunk_size=100))


def test_only_values_know_the_view_direction() -> None:
    field = small_field()
    fields.assert_direction_moves_values_alone(field, field.network.value_direction)


def test_the_noise_level_matters() -> None:
    fields.assert_noise_level_matters(small_field())


def test_autocast_keeps_the_surface_in_float32() -> None:
    fields.assert_float32_under_autocast(small_field())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mean-variance", "visibility", "attention"])
def test_a_training_step_is_static(kind: str) -> None:
    fields.assert_static_training_step(small_field(aggregator={"type": kind}, samples=6, fine_samples=5))
