import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.slots import HasSurface, Scene
from tunemv3d_core.testing import fields
from tunemv3d_lrm.field import AXES, LRMField, sample_planes
from tunemv3d_lrm.spec import LRMSpec
from tunemv3d_lrm.transformer import Attention, PlaneTransformer

TINY = {"patch": 2, "cells": 4, "upsampling": 2, "hidden": 16, "head_channels": 8, "blocks": 2, "channels": 8}


def small_field(**options: object) -> LRMField:
    field: LRMField = fields.small_field("lrm", **(TINY | {"decoder": 16, "eikonal_points": 32} | options))
    return field


def small_transformer(**options: object) -> PlaneTransformer:
    return PlaneTransformer(LRMSpec.model_validate({"type": "lrm"} | TINY | options), fields.FEATURES)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_planes_do_not_depend_on_the_order_of_the_views() -> None:
    network, (features, cameras) = small_transformer().double(), fields.small_views(views=16)
    features, cameras = features.double(), cameras.to(torch.float64)
    t, order = torch.tensor([10.0, 800.0]), torch.randperm(16)
    planes = network(features, cameras, t)
    assert planes.shape == (2, 3, 8, 8, 8) and planes.dtype == torch.float64
    torch.testing.assert_close(network(features[:, order], cameras[:, order], t), planes, rtol=0, atol=1e-10)


def test_a_token_is_a_patch_of_features_and_of_their_rays() -> None:
    """Maps of 5 x 7 cells in patches of 2: 3 x 4 tokens a view, the last of each line padded with zeros."""
    network, (h, w) = small_transformer().double(), (5, 7)
    cameras = Cameras.look_at(torch.tensor([[2.0, -1.0, 0.5], [0.3, 2.4, 1.0]]), focal=0.9)
    cameras = Cameras(cameras.camera_to_world, torch.tensor([0.8, 1.1, 0.45, 0.55]).expand(2, 4)).to(torch.float64)
    features = torch.randn(1, 2, fields.FEATURES, h, w, dtype=torch.float64)
    seen = network.view_tokens(features, cameras[None])
    assert seen.shape == (1, 2 * 3 * 4, 16)
    weight, bias = (z.detach().numpy() for z in (network.embed.weight, network.embed.bias))
    for view in range(2):
        pose, (fx, fy, cx, cy) = cameras.camera_to_world[view].numpy(), cameras.intrinsics[view].tolist()
        for row, column in ((0, 0), (1, 2), (2, 3)):
            expected = bias.copy()
            for i, j in ((i, j) for i in range(2) for j in range(2)):
                y, x = 2 * row + i, 2 * column + j
                if y < h and x < w:
                    ray = pose[:3, :3] @ [((x + 0.5) / w - cx) / fx, ((y + 0.5) / h - cy) / fy, 1.0]
                    ray /= np.linalg.norm(ray)
                    cell = np.concatenate([features[0, view, :, y, x].numpy(), ray, np.cross(pose[:3, 3], ray)])
                    expected += weight[:, :, i, j] @ cell
            assert seen[0, view * 12 + row * 4 + column].tolist() == pytest.approx(expected.tolist(), abs=1e-10)


def test_views_with_other_rays_make_other_planes_and_so_does_another_noise_level() -> None:
    network, (features, cameras) = small_transformer(), fields.small_views()
    planes = network(features, cameras, torch.zeros(2))
    assert (network(features, cameras[:, [1, 2, 0]], torch.zeros(2)) - planes).abs().max() > 1e-3
    assert (network(features, cameras, torch.full((2,), 900.0)) - planes).abs().max() > 1e-3


def test_attention_is_that_of_a_loop_over_tokens() -> None:
    attention, tokens, others = Attention(8, 4).double(), torch.randn(1, 3, 8).double(), torch.randn(1, 5, 8).double()
    query = attention.query(tokens)[0].detach()
    key, value = attention.key_value(others)[0].detach().chunk(2, dim=-1)
    rows = []
    for i in range(3):
        heads = []
        for own in (slice(0, 4), slice(4, 8)):
            weights = [math.exp(float(query[i, own] @ key[j, own]) / 2) for j in range(5)]
            heads.append(sum(w * value[j, own] for j, w in enumerate(weights)) / sum(weights))
        rows.append(torch.cat(heads))
    torch.testing.assert_close(attention(tokens, others), attention.out(torch.stack(rows))[None], rtol=0, atol=1e-10)


def test_gradients_are_exact() -> None:
    network = small_transformer(patch=4, cells=2, upsampling=1, hidden=4, head_channels=2, blocks=1, channels=2)
    network, cameras = network.double(), Cameras.orbit(2)[None].to(torch.float64)
    features = torch.randn(1, 2, fields.FEATURES, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z, _: network(z, cameras, torch.zeros(1)), (features, network.tokens))


def naive_lookup(plane: list[list[float]], row: float, column: float) -> float:
    """Bilinear interpolation between cell centres of a square plane that spans [-1, 1]; its border goes on outside."""
    g = len(plane)
    places = []
    for place in (row, column):
        cell = min(max((place + 1) / 2 * g - 0.5, 0.0), g - 1.0)
        low = min(math.floor(cell), g - 2)
        places.append((low, cell - low))
    (r, down), (c, right) = places
    above = plane[r][c] * (1 - right) + plane[r][c + 1] * right
    below = plane[r + 1][c] * (1 - right) + plane[r + 1][c + 1] * right
    return above * (1 - down) + below * down


def test_planes_are_sampled_as_by_a_loop() -> None:
    planes, points = torch.randn(2, 3, 2, 5, 5).double(), torch.randn(2, 9, 3).double()
    seen = sample_planes(planes, points)
    assert seen.shape == (2, 9, 6)
    for b in range(2):
        for p in range(9):
            place = points[b, p].tolist()
            expected = [
                naive_lookup(planes[b, k, c].tolist(), place[row], place[column])
                for k, (row, column) in enumerate(AXES)
                for c in range(2)
            ]
            assert seen[b, p].tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("t", [0.0, 999.0])
def test_starts_as_a_sphere_whatever_the_features_and_t(t: float) -> None:
    features, cameras = fields.small_views()
    scene = small_field().fuse(features * 100, cameras, torch.full((2,), t))
    assert isinstance(scene, Scene) and isinstance(scene, HasSurface)
    points = torch.randn(2, 300, 3)
    torch.testing.assert_close(scene.signed_distance(points), points.norm(dim=-1) - 0.5, rtol=0, atol=0)
    assert not scene.render(cameras, (4, 4)).values.any(), "values start white"


@pytest.mark.parametrize("views", [1, 16])
def test_any_number_of_views_and_maps_of_any_size(views: int) -> None:
    field, (h, w) = small_field(), (3, 5)
    fields.randomize_zero_init(field)
    features = torch.randn(2, views, fields.FEATURES, h, w)
    seen = field.fuse(features, fields.small_views(views=views)[1], torch.zeros(2))
    assert seen.render(fields.small_views(views=2)[1], (7, 4)).values.isfinite().all()


def test_rendering_samples_planes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    field, (features, cameras) = small_field(), fields.small_views()
    fields.randomize_zero_init(field)
    scene = field.fuse(features, cameras, torch.zeros(2))
    monkeypatch.setattr(field.planes, "forward", None)
    assert scene.render(cameras, (8, 8)).values.any()


def test_the_noise_level_matters() -> None:
    fields.assert_noise_level_matters(small_field())


def test_chunks_change_nothing() -> None:
    fields.assert_chunks_agree(small_field(fine_samples=8), small_field(fine_samples=8, chunk_size=100), 1e-3, 1e-4)


def test_autocast_keeps_the_surface_in_float32() -> None:
    fields.assert_float32_under_autocast(small_field())


def test_a_training_step_is_static() -> None:
    fields.assert_static_training_step(small_field(samples=6, fine_samples=5))


def test_heads_divide_the_width() -> None:
    with pytest.raises(ValidationError, match="multiple of head_channels"):
        LRMSpec(type="lrm", hidden=40)
