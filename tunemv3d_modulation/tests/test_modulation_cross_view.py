"""Cross-view attention of ``copied-encoder``: against loops in float64, and what it may not do."""

import pytest
import torch
from toy_model import load, model_around, toy_inputs

from tunemv3d_core.errors import PortsError
from tunemv3d_core.ports import MapPort
from tunemv3d_modulation.cross_view import CrossViewAttention, CrossViews
from tunemv3d_modulation.spec import CopiedEncoderSpec

VIEWS = 3


def awake(channels: int) -> CrossViewAttention:
    """A layer whose output projection has moved."""
    torch.manual_seed(0)
    layer = CrossViewAttention(channels)
    torch.nn.init.normal_(layer.out.weight)
    torch.nn.init.normal_(layer.norm.weight)
    return layer


def naive(layer: CrossViewAttention, x: torch.Tensor, views: int) -> torch.Tensor:
    """One object, one head and one cell at a time."""
    x, width = x.double(), x.shape[1] // layer.heads
    normed = torch.nn.functional.group_norm(
        x, layer.norm.num_groups, layer.norm.weight.double(), layer.norm.bias.double(), layer.norm.eps
    )
    result = x.clone()
    for first in range(0, x.shape[0], views):
        cells = torch.cat([normed[i].flatten(1).T for i in range(first, first + views)])
        q, k, v = (cells @ layer.qkv.weight.double().T + layer.qkv.bias.double()).chunk(3, dim=1)
        mixed = torch.zeros_like(q)
        for head in range(layer.heads):
            own = slice(head * width, (head + 1) * width)
            for cell in range(len(cells)):
                weights = torch.softmax(k[:, own] @ q[cell, own] / width**0.5, dim=0)
                mixed[cell, own] = weights @ v[:, own]
        told = mixed @ layer.out.weight.double().T + layer.out.bias.double()
        for i, of_view in enumerate(told.chunk(views)):
            result[first + i] += of_view.T.reshape(x.shape[1:])
    return result


@pytest.mark.parametrize(("channels", "heads"), [(64, 1), (128, 2), (48, 3)])
@torch.no_grad()
def test_all_cells_of_an_objects_views_attend_to_each_other(channels, heads):
    layer = awake(channels)
    assert layer.heads == heads
    x = torch.randn(2 * VIEWS, channels, 2, 3)
    torch.testing.assert_close(layer(x, VIEWS).double(), naive(layer, x, VIEWS), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_permuting_the_views_permutes_the_maps_and_objects_do_not_see_each_other():
    layer = awake(64)
    x = torch.randn(2, VIEWS, 64, 4, 4)
    given = layer(x.flatten(0, 1), VIEWS).unflatten(0, (2, VIEWS))
    order = [2, 0, 1]
    turned = layer(x[:, order].flatten(0, 1), VIEWS).unflatten(0, (2, VIEWS))
    torch.testing.assert_close(turned, given[:, order], rtol=1e-4, atol=1e-4)
    other = x.clone()
    other[1] = torch.randn_like(other[1])
    changed = layer(other.flatten(0, 1), VIEWS).unflatten(0, (2, VIEWS))
    assert torch.equal(changed[0], given[0])
    other_view = x.clone()
    other_view[0, 2] = torch.randn_like(other_view[0, 2])
    changed = layer(other_view.flatten(0, 1), VIEWS).unflatten(0, (2, VIEWS))
    assert ((changed - given)[0, 0] - (other_view - x)[0, 0]).abs().max() > 1e-3, "the views of one object do"


@torch.no_grad()
def test_it_stands_at_every_map_from_the_stride_on_and_changes_nothing_at_the_start():
    ports = (MapPort(16, 1), MapPort(16, 2), MapPort(32, 4), MapPort(32, 4))
    views = CrossViews(ports, stride=4)
    maps = tuple(torch.randn(VIEWS, p.channels, 8 // p.stride, 8 // p.stride) for p in ports)
    assert all(torch.equal(a, b) for a, b in zip(views(maps, VIEWS), maps, strict=True))
    for parameter in views.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    same = [torch.equal(a, b) for a, b in zip(views(maps, VIEWS), maps, strict=True)]
    assert same == [True, True, False, False]


@torch.no_grad()
def test_views_of_the_whole_lifter_talk_only_where_asked(folders):
    for stride in (None, 2):
        model = model_around(load(folders["mini"]), CopiedEncoderSpec(type="copied-encoder", cross_view_stride=stride))
        for parameter in model.lifter.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
        inputs, values = toy_inputs(model), torch.randn(2, 3, 4, 8, 8)
        other = values.clone()
        other[:, 2] *= -1
        rest = inputs["x_t"], inputs["t"], inputs["text"]
        for port, one, two in zip(
            model.lifter.ports.maps, model.lifter(values, *rest), model.lifter(other, *rest), strict=True
        ):
            first = slice(0, 1)
            unmoved = torch.allclose(one[first], two[first], rtol=1e-5, atol=1e-5)
            assert unmoved is (stride is None or port.stride < stride)


def test_a_stride_that_no_map_has_is_refused(folders):
    with pytest.raises(PortsError, match=r"cross_view_stride = 16 .*strides up to 4"):
        model_around(load(folders["mini"]), CopiedEncoderSpec(type="copied-encoder", cross_view_stride=16))
