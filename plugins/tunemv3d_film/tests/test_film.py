import pytest
import torch
from torch import Tensor

from tunemv3d_core.assemble import build_component
from tunemv3d_core.errors import PortsError
from tunemv3d_core.ports import BackbonePorts, BuildContext, InjectorPorts, LifterPorts, MapPort, Neighbours
from tunemv3d_core.types import Skips
from tunemv3d_film.injector import FiLM
from tunemv3d_film.spec import FiLMSpec

GIVEN, WANTED = (MapPort(3, 1), MapPort(5, 2)), (MapPort(4, 1), MapPort(6, 2))
BACKBONE = BackbonePorts(4, 8, 4, 12, WANTED, "epsilon", 1000)
CONTEXT = BuildContext(torch.device("cpu"))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def inputs() -> tuple[tuple[Tensor, ...], Skips]:
    maps = tuple(torch.randn(6, m.channels, 8 // m.stride, 8 // m.stride) for m in GIVEN)
    return maps, Skips(tuple(torch.randn(6, m.channels, 8 // m.stride, 8 // m.stride) for m in WANTED))


def test_nothing_at_the_start_whatever_the_maps() -> None:
    neighbours = Neighbours(BACKBONE, lifter=LifterPorts("latents", 4, GIVEN))
    injector = build_component("injector", FiLMSpec(type="film"), neighbours, CONTEXT)
    maps, skips = inputs()
    residuals = injector(tuple(1e6 * m for m in maps), skips)
    assert [r.shape for r in residuals] == [s.shape for s in skips.maps]
    assert not any(bool(r.any()) for r in residuals)


def test_every_cell_is_scaled_and_shifted_by_what_the_map_says_there() -> None:
    injector, (maps, skips) = FiLM(InjectorPorts(GIVEN, WANTED)), inputs()
    for parameter in injector.parameters():
        torch.nn.init.normal_(parameter)
    for k, residual in enumerate(injector(maps, skips)):
        gamma, beta = injector.gammas[k], injector.betas[k]
        view, row, column = 2, 3, 1
        cell, skip = maps[k][view, :, row, column], skips.maps[k][view, :, row, column]
        scale = gamma.weight[:, :, 0, 0] @ cell + gamma.bias
        shift = beta.weight[:, :, 0, 0] @ cell + beta.bias
        torch.testing.assert_close(residual[view, :, row, column] + skip, (1 + scale) * skip + shift)


def test_the_first_step_reaches_every_parameter_and_the_second_the_maps() -> None:
    injector, (maps, skips) = FiLM(InjectorPorts(GIVEN, WANTED)), inputs()
    targets = [torch.randn_like(s) for s in skips.maps]
    maps = tuple(m.requires_grad_() for m in maps)
    optimizer = torch.optim.SGD(injector.parameters(), lr=0.1)

    def backward() -> None:
        residuals = injector(maps, skips)
        sum(((s + r) - t).square().mean() for s, r, t in zip(skips.maps, residuals, targets, strict=True)).backward()

    backward()
    assert all(bool(p.grad.any()) for p in injector.parameters())
    assert not any(bool(m.grad.any()) for m in maps), "zero weights let no gradient through"
    optimizer.step()
    backward()
    assert all(bool(m.grad.any()) for m in maps)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(PortsError, match=r"maps of strides \[1\], the backbone wants \[1, 2\]"):
        FiLM(InjectorPorts(GIVEN[:1], WANTED))
    with pytest.raises(PortsError, match="needs a lifter"):
        build_component("injector", FiLMSpec(type="film"), Neighbours(BACKBONE), CONTEXT)
