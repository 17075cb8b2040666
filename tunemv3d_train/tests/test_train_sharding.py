"""Shards of a process group of one: what is cut is put together again, and what cannot be cut is refused."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor

from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.errors import ComponentError, SpecError
from tunemv3d_train.accelerator import accelerate
from tunemv3d_train.sharding import check_moments, cut, fill, gathered, is_sharded, shard, summed, whole

ALONE: Any = SimpleNamespace(device=torch.device("cpu"), num_processes=1)


@pytest.fixture
def group() -> Iterator[None]:
    dist.init_process_group("gloo", rank=0, world_size=1, store=dist.HashStore())
    yield
    dist.destroy_process_group()


class Parts(nn.Module):
    """Trained weights, one number alone, and frozen weights of another precision."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trained, self.frozen = nn.Linear(3, 5), nn.Linear(5, 2).requires_grad_(False).bfloat16()
        self.variance = nn.Parameter(torch.tensor(0.3))


def test_what_is_trained_is_cut_and_put_together_again(group: None) -> None:
    step = Parts()
    before = {name: value.clone() for name, value in step.state_dict().items()}
    assert not is_sharded(step)
    shard(step, ALONE)
    assert is_sharded(step)
    cut_ones = {name for name, parameter in step.named_parameters() if isinstance(parameter, DTensor)}
    assert cut_ones == {"trained.weight", "trained.bias"}
    for name, parameter in step.named_parameters():
        assert torch.equal(gathered(parameter.detach()), before[name])
    with whole(step):
        assert torch.equal(step.trained.weight, before["trained.weight"])
        assert not isinstance(step.trained.weight, DTensor)
    weight = step.trained.weight
    fill(weight, 2 * before["trained.weight"])
    assert torch.equal(gathered(weight.detach()), 2 * before["trained.weight"])
    assert torch.equal(gathered(cut(before["trained.weight"], weight)), before["trained.weight"])
    assert cut(count := torch.tensor(3.0), weight) is count  # such as an optimizer's number of steps
    norm = torch.nn.utils.get_total_norm([weight.detach(), step.variance.detach()])
    expected = (4 * before["trained.weight"].square().sum() + before["variance"].square()).sqrt()
    torch.testing.assert_close(summed(norm), expected)


def test_a_weight_of_two_names_is_refused(group: None) -> None:
    step = Parts()
    step.again = nn.Linear(3, 5)
    step.again.weight = step.trained.weight
    with pytest.raises(SpecError, match=r"several names.*'ddp'"):
        shard(step, ALONE)


class Remembering(torch.optim.Optimizer):
    """Keeps of each shard a row of its own."""

    def step(self, closure: Any = None) -> None:
        for parameter in self.param_groups[0]["params"]:
            self.state[parameter]["row"] = torch.zeros(7)


def test_moments_that_no_checkpoint_could_hold_are_refused(group: None) -> None:
    step = Parts()
    shard(step, ALONE)
    trained = [parameter for parameter in step.parameters() if parameter.requires_grad]
    usual, own = torch.optim.AdamW(trained, fused=True), Remembering(trained, {})
    for parameter in trained:
        parameter.grad = torch.ones_like(parameter)
    usual.step()
    own.step()
    check_moments([usual])
    with pytest.raises(ComponentError, match=r"Remembering keeps 'row'.*train.parallel=ddp"):
        check_moments([usual, own])


def test_loss_scaling_and_accelerates_own_settings_are_refused(
    spec_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunemv3d_train.accelerator.preferred_device", lambda: "cuda")
    with pytest.raises(SpecError, match=r"use 'bf16' with fsdp2"):
        accelerate(load_spec(spec_file, ["train.precision=fp16", "train.parallel=fsdp2"]))
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(SpecError, match=r"--multi_gpu.*set train.parallel"):
        accelerate(load_spec(spec_file))
