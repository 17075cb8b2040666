"""Means of gradients over two processes, while the backward pass goes on."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from tunemv3d_train import averaging
from tunemv3d_train.averaging import AveragedGradients


def model() -> nn.Sequential:
    torch.manual_seed(0)
    # Weights of a 1 x 1 convolution may have other strides than their gradients.
    layers = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 5), nn.Linear(5, 2)
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def picture(rank: int) -> Tensor:
    return torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(rank))


def gradients(net: nn.Sequential) -> list[Tensor | None]:
    return [parameter.grad for parameter in net.parameters()]


def learn(rank: int, folder: Path) -> None:
    """What one of two processes does: a pass that does not count, and two that do, the second without a layer."""
    store = dist.FileStore(str(folder / "store"), 2)
    dist.init_process_group("gloo", rank=rank, world_size=2, store=store)
    averaging.BUCKET = 100  # several of them, of several gradients
    net, seen = model(), []
    averaged = AveragedGradients(net.parameters())
    net(picture(7)).sum().backward()
    net.zero_grad()
    for used in (net, net[:4]):
        averaged.begin()
        used(picture(rank)).square().sum().backward()
        averaged.finish()
        seen.append([None if g is None else g.clone() for g in gradients(net)])
        net.zero_grad()
    torch.save(seen, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_hold_the_mean_of_their_gradients(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(learn, args=(tmp_path,), nprocs=2)
    net = model()
    for number, used in enumerate((net, net[:4])):
        net.zero_grad()
        (sum(used(picture(rank)).square().sum() for rank in (0, 1)) / 2).backward()  # type: ignore[union-attr]
        for rank in (0, 1):
            for mine, expected in zip(torch.load(tmp_path / f"{rank}.pt")[number], gradients(net), strict=True):
                assert (mine is None) == (expected is None)
                if expected is not None:
                    torch.testing.assert_close(mine, expected)
