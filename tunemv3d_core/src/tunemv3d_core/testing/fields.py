"""Helpers for the tests of a field beside the conformance checks."""

from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode

from tunemv3d_core.cameras import Cameras, pixel_centres
from tunemv3d_core.rendering.rays import culling
from tunemv3d_core.slots import HasSurface
from tunemv3d_core.testing.component import ComponentUnderTest, randomize_zero_init
from tunemv3d_core.testing.stand_ins import FEATURES
from tunemv3d_core.types import Rendering

__all__ = [
    "FEATURES",
    "assert_chunks_agree",
    "assert_direction_moves_values_alone",
    "assert_float32_under_autocast",
    "assert_noise_level_matters",
    "assert_static_training_step",
    "randomize_zero_init",
    "small_field",
    "small_views",
]


def small_field(name: str, **options: object) -> Any:
    """Build a field among stand-ins, in evaluation mode; it takes ``FEATURES`` channels and gives 4 of latents."""
    return ComponentUnderTest("field", name, options).built().module.eval()


def small_views(objects: int = 2, views: int = 3, size: int = 8) -> tuple[Tensor, Cameras]:
    """Draw features ``b n f h w`` of cameras ``b n`` on a ring."""
    features = torch.randn(objects, views, FEATURES, size, size)
    return features, Cameras.orbit(views)[None].expand(objects, views)


def assert_noise_level_matters(field: Any) -> None:
    """Assert that t changes what a field renders, once no parameter is zero."""
    randomize_zero_init(field)
    features, cameras = small_views()
    low, high = (_render(field, features, cameras, t) for t in (50.0, 900.0))
    assert (low.values - high.values).abs().max() > 1e-5


def assert_direction_moves_values_alone(field: Any, direction: nn.Linear) -> None:
    """Assert that values, and not the opacity, depend on the layer that takes the rays' directions."""
    randomize_zero_init(field)
    features, cameras = small_views(objects=1, views=2)
    renderings = []
    for factor in (100.0, 0.0):
        with torch.no_grad():
            direction.weight.mul_(factor)
        renderings.append(_render(field, features, cameras))
    assert torch.equal(renderings[0].opacity, renderings[1].opacity)
    assert (renderings[0].values - renderings[1].values).abs().max() > 1e-3


def assert_chunks_agree(whole: Any, chunked: Any, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    """Assert that a field of small chunks renders at pixels what another renders as whole maps, normals if any too."""
    randomize_zero_init(whole)
    chunked.load_state_dict(whole.state_dict())
    features, cameras = small_views()
    t, centres = torch.tensor([10.0, 800.0]), pixel_centres((6, 5)).expand(2, 3, 30, 2)
    maps = whole.fuse(features, cameras, t).render(cameras, (6, 5), normals=True)
    pixels = chunked.fuse(features, cameras, t).render(cameras, (6, 5), centres, normals=True)
    for name in ("values", "opacity", "depth", *(() if maps.normals is None else ("normals",))):
        torch.testing.assert_close(getattr(pixels, name), getattr(maps, name).flatten(-2), rtol=rtol, atol=atol)


def assert_float32_under_autocast(field: Any) -> None:
    """Assert that a new field, whose geometry no feature changes yet, keeps it in float32 under autocast."""
    features, cameras = small_views()
    points = torch.randn(2, 50, 3)
    plain = field.fuse(features, cameras, torch.zeros(2))
    with torch.autocast("cpu", torch.bfloat16):
        scene = field.fuse(features.bfloat16(), cameras, torch.zeros(2))
        rendering = scene.render(cameras, (8, 8))
        if isinstance(scene, HasSurface) and isinstance(plain, HasSurface):
            assert torch.equal(scene.signed_distance(points), plain.signed_distance(points))
    assert rendering.values.dtype == rendering.opacity.dtype == rendering.depth.dtype == torch.float32
    torch.testing.assert_close(rendering.opacity, plain.render(cameras, (8, 8)).opacity, rtol=1e-5, atol=1e-6)


class _RefusesHostIndices(TorchFunctionMode):
    """Refuses lists as indices: each call copies them from the host, which no CUDA graph may."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (Tensor.__getitem__, Tensor.__setitem__):
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            assert not any(isinstance(part, list) for part in index), f"{args[1]} indexes a tensor: a list is copied"
        return func(*args, **(kwargs or {}))


def assert_static_training_step(field: Any) -> None:
    """Assert that no shape and no branch of a training step depends on numbers, as a CUDA graph needs.

    Fake tensors hold no numbers: what asks for one raises ``DataDependentOutputException``. Lists as indices are
    refused too.
    """
    field.train()
    with culling(False), FakeTensorMode(allow_non_fake_inputs=True), _RefusesHostIndices():
        cameras = Cameras(torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4))
        scene = field.fuse(torch.randn(2, 3, FEATURES, 8, 8), cameras, torch.zeros(2))
        maps, pixels = scene.render(cameras, (8, 8)), scene.render(cameras, (8, 8), torch.rand(2, 3, 7, 2))
        assert pixels.values.shape == (2, 3, field.ports.values, 7)
        outputs = (maps.values, maps.opacity, pixels.depth)
        (sum(z.mean() for z in outputs) + sum(scene.losses().values())).backward()


def _render(field: Any, features: Tensor, cameras: Cameras, t: float = 0.0) -> Rendering:
    rendering: Rendering = field.fuse(features, cameras, torch.full((len(features),), t)).render(cameras, (8, 8))
    return rendering
