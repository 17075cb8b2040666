import pytest
import torch
from neus_fixtures import randomize_zero_init, small_field, small_views

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.slots import HasSurface, Scene
from tunemv3d_neus.network import SPHERE, softplus


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
    torch.testing.assert_close(scene.signed_distance(points), points.norm(dim=-1) - SPHERE, rtol=0, atol=0)
    assert not scene.render(cameras, (4, 4)).values.any(), "values start white"


def test_pixels_are_the_maps_cells_and_chunks_change_nothing() -> None:
    features, cameras = small_views()
    whole, pieces = small_field(), small_field(chunk_size=100)
    randomize_zero_init(whole)
    pieces.load_state_dict(whole.state_dict())
    t = torch.tensor([10.0, 800.0])
    maps = whole.fuse(features, cameras, t).render(cameras, (6, 5), normals=True)
    pixels = torch.tensor([[0.5 / 5, 2.5 / 6], [3.5 / 5, 3.5 / 6]]).expand(2, 3, 2, 2)
    some = pieces.fuse(features, cameras, t).render(cameras, (6, 5), pixels, normals=True)
    for name in ("values", "opacity", "depth", "normals"):
        whole_map, at_pixels = getattr(maps, name), getattr(some, name)
        expected = torch.stack([whole_map[..., 2, 0], whole_map[..., 3, 3]], dim=-1)
        torch.testing.assert_close(at_pixels, expected, rtol=1e-4, atol=1e-5)


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


def test_only_values_know_the_view_direction() -> None:
    network = small_field().network
    randomize_zero_init(network)
    hidden = torch.randn(1, 3, 2, 16)
    seen = torch.randn(1, 3, 2, network.value_agg.in_features)
    one, other = (torch.nn.functional.normalize(torch.randn(1, 3, 3), dim=-1) for _ in range(2))
    assert (network.values(hidden, seen, one) - network.values(hidden, seen, other)).abs().max() > 1e-4
    # The surface is the same from everywhere, although its colours are not: distances take no direction at all.
    field = small_field()
    randomize_zero_init(field)
    features, cameras = small_views(objects=1, views=2)
    with torch.no_grad():
        field.network.value_direction.weight.mul_(100)
    before = field.fuse(features, cameras, torch.zeros(1)).render(cameras, (6, 6))
    with torch.no_grad():
        field.network.value_direction.weight.zero_()
    after = field.fuse(features, cameras, torch.zeros(1)).render(cameras, (6, 6))
    torch.testing.assert_close(after.opacity, before.opacity, rtol=0, atol=0)
    assert (after.values - before.values).abs().max() > 1e-3


def test_what_the_views_say_reaches_distance_and_value_on_a_straight_road() -> None:
    network = small_field().network
    torch.nn.init.normal_(network.distance_agg.weight)
    torch.nn.init.normal_(network.value_agg.weight)
    points, seen = torch.randn(1, 6, 3), torch.randn(1, 6, network.value_agg.in_features)
    hidden = torch.randn(1, 6, 16)
    distances = network.signed_distance(points, hidden, seen)
    expected = points.norm(dim=-1) - SPHERE + seen @ network.distance_agg.weight[0]
    torch.testing.assert_close(distances, expected)
    by_rays = hidden.reshape(1, 3, 2, 16), seen.reshape(1, 3, 2, -1)
    values = network.values(*by_rays, torch.zeros(1, 3, 3))
    torch.testing.assert_close(values.flatten(1, 2), seen @ network.value_agg.weight.T)


def test_training_reaches_every_parameter_and_t_matters() -> None:
    field = small_field().train()
    features, cameras = small_views()
    optimizer = torch.optim.AdamW(field.parameters(), lr=1e-3)
    target = torch.randn(2, 3, 4, 8, 8)
    for _ in range(4):
        optimizer.zero_grad()
        scene = field.fuse(features, cameras, torch.tensor([50.0, 900.0]))
        rendering = scene.render(cameras, (8, 8))
        loss = (rendering.values - target).abs().mean() + rendering.opacity.mean() + sum(scene.losses().values())
        loss.backward()
        optimizer.step()
    for name, parameter in field.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name
    field.eval()
    low, high = (field.fuse(features, cameras, torch.full((2,), t)).render(cameras, (8, 8)) for t in (50.0, 900.0))
    assert (low.values - high.values).abs().max() > 1e-5
    assert (low.opacity - high.opacity).abs().max() > 1e-6


def test_regularisers_measure_what_they_say() -> None:
    field = small_field(eikonal_points=512)
    features, cameras = small_views()
    losses = {name: loss.detach() for name, loss in field.fuse(features, cameras, torch.zeros(2)).losses().items()}
    assert float(losses["eikonal"]) < 1e-5, "a sphere's distance has a gradient of length 1"
    # Mean of exp(-tau |r - 1/2|) over the unit ball, of density 3 r^2.
    r = torch.linspace(0, 1, 100_001, dtype=torch.float64)
    expected = float(torch.trapezoid(3 * r**2 * torch.exp(-100 * (r - SPHERE).abs()), r))
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


def test_autocast_keeps_the_surface_in_float32() -> None:
    field = small_field()
    features, cameras = small_views()
    with torch.autocast("cpu", torch.bfloat16):
        scene = field.fuse(features.bfloat16(), cameras, torch.zeros(2))
        rendering = scene.render(cameras, (8, 8))
        points = torch.randn(2, 50, 3)
        distances = scene.signed_distance(points)
    assert rendering.values.dtype == rendering.opacity.dtype == rendering.depth.dtype == torch.float32
    torch.testing.assert_close(distances, points.norm(dim=-1) - SPHERE, rtol=0, atol=0)
    plain = field.fuse(features, cameras, torch.zeros(2)).render(cameras, (8, 8))
    torch.testing.assert_close(rendering.opacity, plain.opacity, rtol=1e-5, atol=1e-6)


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
def test_recomputing_gives_the_same_gradients_and_keeps_a_fraction(fine: int) -> None:
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
