import pytest
import torch
from pydantic import ValidationError

from tunemv3d_attention.field import AttentionField
from tunemv3d_attention.network import AttentionNetwork
from tunemv3d_attention.spec import AttentionFieldSpec
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import CameraError
from tunemv3d_core.slots import HasSurface, Scene
from tunemv3d_core.testing import fields
from tunemv3d_core.testing.fields import FEATURES, small_views

VALUES = 4


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def small_field(awake: bool = False, **options: object) -> AttentionField:
    field: AttentionField = fields.small_field(
        "attention", **({"hidden": 16, "head_channels": 8, "blocks": 2} | options)
    )
    for parameter in field.parameters() if awake else ():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.3)
    return field


def test_starts_white_and_nearly_clear_whatever_the_features() -> None:
    features, cameras = small_views()
    scene = small_field().fuse(1e3 * features, cameras, torch.full((2,), 900.0))
    assert isinstance(scene, Scene) and not isinstance(scene, HasSurface)
    seen = scene.render(cameras, (8, 8), normals=True)
    assert not seen.values.any() and not seen.depth.any() and seen.normals is None
    assert (seen.opacity - torch.tensor(-2.0).sigmoid()).abs().max() < 1e-6


def test_views_tell_each_other_and_their_order_does_not_matter() -> None:
    field, (features, cameras) = small_field(awake=True), small_views()
    t = torch.full((2,), 300.0)
    seen = field.fuse(features, cameras, t).render(cameras, (8, 8))
    order = torch.tensor([2, 0, 1])
    again = field.fuse(features[:, order], cameras[:, order], t).render(cameras, (8, 8))
    torch.testing.assert_close(again.values, seen.values, rtol=1e-4, atol=1e-5)
    changed = features.clone()
    changed[:, 1] += 1
    other = field.fuse(changed, cameras, t).render(cameras, (8, 8))
    assert (other.values[:, 0] - seen.values[:, 0]).abs().max() > 1e-3, "view 0 heeds view 1"
    moved = Cameras.orbit(3, azimuth=50.0)[None].expand(2, 3)
    elsewhere = field.fuse(features, moved, t).render(moved, (8, 8))
    assert (elsewhere.values - seen.values).abs().max() > 1e-3, "it matters where the cameras stand"


def test_attention_is_that_of_a_loop_over_tokens() -> None:
    block = AttentionNetwork(
        AttentionFieldSpec(type="attention", hidden=8, head_channels=4, blocks=1), FEATURES, VALUES
    ).blocks[0]
    tokens, time = torch.randn(1, 5, 8), torch.randn(1, 1, 8)
    one, two = block.time(time).chunk(2, dim=-1)
    query, key, value = block.qkv(block.norm_attention(tokens) + one).double()[0].chunk(3, dim=-1)
    rows = []
    for i in range(5):
        heads = []
        for own in (slice(0, 4), slice(4, 8)):
            weights = torch.stack([torch.exp(query[i, own] @ key[j, own] / 2) for j in range(5)])
            heads.append(sum(w * value[j, own] for j, w in enumerate(weights)) / weights.sum())
        rows.append(torch.cat(heads))
    expected = tokens + block.out(torch.stack(rows).float())[None]
    expected = expected + block.each(block.norm_each(expected) + two)
    torch.testing.assert_close(block(tokens, time), expected, rtol=1e-4, atol=1e-5)


def test_a_views_features_reach_its_values_through_the_skip_connection() -> None:
    field, (features, cameras) = small_field(), small_views()
    with torch.no_grad():
        field.network.skip.weight.normal_()
    seen = field.fuse(features, cameras, torch.zeros(2)).render(cameras, (8, 8))
    expected = torch.einsum("vf,bnfhw->bnvhw", field.network.skip.weight[:, :, 0, 0], features)
    torch.testing.assert_close(seen.values, expected[:, :, :VALUES], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(7, 10), (8, 8)])
def test_cameras_in_any_order_pixels_and_other_sizes(size: tuple[int, int]) -> None:
    field, features = small_field(awake=True), torch.randn(2, 3, FEATURES, *size)
    cameras = Cameras.orbit(3)[None].expand(2, 3)
    scene = field.fuse(features, cameras, torch.zeros(2))
    whole = scene.render(cameras, size)
    assert whole.values.shape == (2, 3, VALUES, *size)
    some = scene.render(cameras[:, [2, 0, 0, 1]], size)
    torch.testing.assert_close(some.values, whole.values[:, [2, 0, 0, 1]], rtol=0, atol=0)
    h, w = size
    pixels = torch.tensor([[2.5 / w, 0.5 / h], [4.5 / w, 6.5 / h]]).expand(2, 3, 2, 2)
    at = scene.render(cameras, size, pixels)
    for name in ("values", "opacity"):
        cells = torch.stack([getattr(whole, name)[..., 0, 2], getattr(whole, name)[..., 6, 4]], dim=-1)
        torch.testing.assert_close(getattr(at, name), cells, rtol=1e-4, atol=1e-5)
    large = scene.render(cameras, (2 * h, 2 * w))
    assert large.values.shape[-2:] == large.depth.shape[-2:] == (2 * h, 2 * w)
    torch.testing.assert_close(large.values.mean((-2, -1)), whole.values.mean((-2, -1)), rtol=1e-3, atol=1e-3)


def test_a_camera_that_is_no_input_is_refused() -> None:
    features, cameras = small_views()
    scene = small_field().fuse(features, cameras, torch.zeros(2))
    novel = Cameras.cat([cameras[:, :1], Cameras.orbit(1, azimuth=33.0)[None].expand(2, 1)], dim=1)
    with pytest.raises(CameraError, match=r"renders only its 3 input cameras; camera 1 is none of them"):
        scene.render(novel, (8, 8))


def test_autocast_gives_float32() -> None:
    field, (features, cameras) = small_field(awake=True), small_views()
    exact = field.fuse(features, cameras, torch.zeros(2)).render(cameras, (8, 8))
    with torch.autocast("cpu", torch.bfloat16):
        seen = field.fuse(features.bfloat16(), cameras, torch.zeros(2)).render(cameras, (8, 8))
    assert seen.values.dtype == seen.opacity.dtype == torch.float32
    assert (seen.values - exact.values).abs().mean() < 0.05 * exact.values.abs().mean()


def test_a_training_step_is_static() -> None:
    fields.assert_static_training_step(small_field())


def test_heads_divide_the_width() -> None:
    with pytest.raises(ValidationError, match="multiple of head_channels"):
        AttentionFieldSpec(type="attention", hidden=40)
