import math

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from tunemv3d_core.assemble import build_component
from tunemv3d_core.errors import PortsError
from tunemv3d_core.ports import BackbonePorts, BuildContext, InjectorPorts, LifterPorts, MapPort, Neighbours
from tunemv3d_core.types import Skips
from tunemv3d_cross_attention.injector import CrossAttention, distance_bias
from tunemv3d_cross_attention.spec import CrossAttentionSpec

GIVEN, WANTED = (MapPort(3, 1), MapPort(5, 2)), (MapPort(4, 1), MapPort(6, 2))
BACKBONE = BackbonePorts(4, 8, 4, 12, WANTED, "epsilon", 1000)
CONTEXT = BuildContext(torch.device("cpu"))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def small(**options: object) -> CrossAttention:
    spec = CrossAttentionSpec(type="cross-attention", **({"heads": 2, "head_channels": 4} | options))  # type: ignore[arg-type]
    return CrossAttention(spec, InjectorPorts(GIVEN, WANTED))


def inputs(size: int = 8, views: int = 6) -> tuple[tuple[Tensor, ...], Skips]:
    maps = tuple(torch.randn(views, m.channels, size // m.stride, size // m.stride) for m in GIVEN)
    return maps, Skips(tuple(torch.randn(views, m.channels, size // m.stride, size // m.stride) for m in WANTED))


def awake(injector: CrossAttention) -> CrossAttention:
    for layer in injector.layers:
        torch.nn.init.normal_(layer.out.weight)
        torch.nn.init.normal_(layer.out.bias)
    return injector


def test_nothing_at_the_start_whatever_the_maps() -> None:
    neighbours = Neighbours(BACKBONE, lifter=LifterPorts("latents", 4, GIVEN))
    injector = build_component("injector", CrossAttentionSpec(type="cross-attention"), neighbours, CONTEXT)
    maps, skips = inputs()
    residuals = injector(tuple(1e3 * m for m in maps), skips)
    assert [r.shape for r in residuals] == [s.shape for s in skips.maps]
    assert not any(bool(r.any()) for r in residuals)


def test_a_cell_gets_what_float64_loops_say() -> None:
    """One cell of the first map, whose 8 x 8 cells are averaged to 4 x 4: weights by hand, head by head."""
    injector, (maps, skips) = awake(small(cells=4)), inputs()
    layer, view, row, column = injector.layers[0], 1, 6, 3
    got = injector(maps, skips)[0][view, :, row, column].double()
    skip = skips.maps[0][view, :, row, column].double()
    query = layer.query.weight.double() @ ((skip - skip.mean()) / (skip.var(unbiased=False) + 1e-5).sqrt())
    heads = []
    for head in range(2):
        weights, values = [], []
        for i in range(4):
            for j in range(4):
                cell = maps[0][view, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].double().mean((1, 2))
                key = layer.key.weight.double() @ ((cell - cell.mean()) / (cell.var(unbiased=False) + 1e-5).sqrt())
                # Centres in cells of the 4 x 4 map.
                squared = ((row + 0.5) / 2 - (i + 0.5)) ** 2 + ((column + 0.5) / 2 - (j + 0.5)) ** 2
                reach = 0.5 * 2**head
                own = slice(4 * head, 4 * head + 4)
                weights.append(math.exp(float((query[own] @ key[own]).detach()) / 2 - squared / (2 * reach**2)))
                values.append((layer.value.weight.double() @ cell)[own])
        heads.append(sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights))
    expected = layer.out.weight.double() @ torch.cat(heads) + layer.out.bias.double()
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_the_first_head_looks_where_the_cell_lies_and_views_do_not_mix() -> None:
    weights = distance_bias((4, 4), (4, 4), 3, torch.device("cpu")).softmax(-1)
    assert (weights[0].diagonal() > 0.5).all() and (weights[2].diagonal() < 0.15).all()
    injector, (maps, skips) = awake(small()), inputs()
    before = injector(maps, skips)
    changed = tuple(torch.cat([m[:1] + 1, m[1:]]) for m in maps)
    for one, other in zip(before, injector(changed, skips), strict=True):
        assert not torch.allclose(one[0], other[0])
        torch.testing.assert_close(one[1:], other[1:])


def test_three_steps_reach_every_parameter() -> None:
    injector, (maps, skips) = small(), inputs()
    targets = [torch.randn_like(s) for s in skips.maps]
    optimizer = torch.optim.AdamW(injector.parameters(), lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        residuals = injector(maps, skips)
        sum(((s + r) - t).square().mean() for s, r, t in zip(skips.maps, residuals, targets, strict=True)).backward()
        optimizer.step()
    for name, parameter in injector.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.any()), name


def test_autocast_and_static_shapes() -> None:
    injector, (maps, skips) = awake(small(cells=4)), inputs()
    exact = injector(maps, skips)
    with torch.autocast("cpu", torch.bfloat16):
        quick = injector(maps, skips)
    for one, other in zip(exact, quick, strict=True):
        assert (one - other.float()).abs().mean() < 0.05 * one.abs().mean()
    with FakeTensorMode():
        maps, skips = inputs()
        sum(r.mean() for r in small(cells=4)(maps, skips)).backward()


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(PortsError, match="gives 1 maps, the backbone wants 2"):
        CrossAttention(CrossAttentionSpec(type="cross-attention"), InjectorPorts(GIVEN[:1], WANTED))
    with pytest.raises(PortsError, match="needs a lifter"):
        build_component("injector", CrossAttentionSpec(type="cross-attention"), Neighbours(BACKBONE), CONTEXT)
