"""The fused kernels in a plan: chosen without a GPU, with the memory and the operations that they have."""

import pytest
import torch
from neus_float64 import random_network
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from tunemv3d_core.planned import planning, workspace
from tunemv3d_neus.fused_network import fused_query, is_fused

pytest.importorskip("triton")

from tunemv3d_neus.kernels.resnetfc import BACKWARD_POINTS

GPU, META = torch.device("cuda", 0), torch.device("meta")
PAPER = {"features": 32, "values": 4, "hidden": 128, "blocks": 5, "latent_blocks": 3}


def test_a_plan_takes_the_kernels_where_it_may_and_tries_nothing() -> None:
    network = random_network(features=21, values=3, hidden=64, blocks=3, latent_blocks=3)
    with planning(kernels=True):
        assert is_fused(network, GPU) and not is_fused(network, torch.device("cpu"))
    with planning(kernels=False):
        assert not is_fused(network, GPU)


def test_products_are_counted_as_those_of_the_plain_layers() -> None:
    b, r, s = 2, 50, 8
    network, time = random_network(**PAPER), torch.zeros(b, 5, 128)
    points, directions, aggregated = torch.zeros(b, r * s, 3), torch.ones(b, r, 3), torch.zeros(b, r * s, 65)
    with FlopCounterMode(display=False) as plain:
        hidden = network.trunk(points, None, aggregated, time)
        network.signed_distance(points, hidden, aggregated)
        network.values(hidden.unflatten(1, (r, s)), aggregated.unflatten(1, (r, s)), directions)
    network.to(META)
    points, directions, aggregated, time = (z.to(META) for z in (points, directions, aggregated, time))
    aggregated.requires_grad_()
    with FlopCounterMode(display=False) as fused:
        sdf, values = fused_query(network, points, directions, aggregated, time, 1.0)
    with FlopCounterMode(display=False) as backward:
        (sdf.sum() + values.sum()).backward()
    assert fused.get_total_flops() == pytest.approx(plain.get_total_flops(), rel=0.02)
    assert backward.get_total_flops() == pytest.approx(3 * plain.get_total_flops(), rel=0.02)


def test_the_backward_pass_takes_activations_and_gradients_of_so_many_points_at_once() -> None:
    network = random_network(**PAPER).to(META)

    def taken(b: int, p: int) -> int:
        found: list[int] = []

        class Seen(TorchDispatchMode):
            def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
                found.append(workspace(func._overloadpacket, args, kwargs or {}))
                return func(*args, **(kwargs or {}))

        points, directions, time = (torch.empty(b, *z, device=META) for z in ((p, 3), (1, 3), (5, 128)))
        aggregated = torch.empty(b, p, 65, device=META, requires_grad=True)
        with Seen():
            sdf, values = fused_query(network, points, directions, aggregated, time, 1.0)
            (sdf.sum() + values.sum()).backward()
        return max(found)

    # The input, eleven activations and twelve gradients of 128 channels, and one of half as many: float32 here.
    layers = (128 + 11 * 128 + 12 * 128 + 64) * 4
    assert taken(4, 2**21) == pytest.approx(BACKWARD_POINTS * layers, rel=0.1)
    assert taken(8, 2**21) == pytest.approx(taken(4, 2**21), rel=0.01)
    assert taken(4, 1000) < taken(4, 2**21) / 20
