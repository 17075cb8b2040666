"""``train.parallel: fsdp2``: trained weights, their gradients and moments lie in shards, one in each process.

Torch's ``fully_shard`` gathers the weights before a step's forward pass and gives each process its shard of the mean
gradient after the backward pass. Frozen weights stay whole in every process, and numbers that stand alone, which cannot
be cut, are averaged here.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from tunemv3d_core.errors import ComponentError, SpecError


def shard(step: nn.Module, accelerator: Accelerator) -> None:
    """Cut the trained weights of a step into shards, in place: its parameters are ``DTensor`` s from here on.

    Raises:
        SpecError: the model has the same trained weight under two names.
    """
    trained = {parameter for parameter in step.parameters() if parameter.requires_grad}
    names = [name for name, p in step.named_parameters(remove_duplicate=False) if p in trained]
    if len(names) > len(trained):
        raise SpecError("train.parallel: a weight has several names in this model, which 'fsdp2' cannot cut; use 'ddp'")
    whole_ones = {p for p in step.parameters() if p not in trained or p.dim() == 0}
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    # The weights stay gathered until the backward pass is done: most of a step's memory is in its activations.
    fully_shard(step, mesh=mesh, reshard_after_forward=False, ignored_params=whole_ones)


def is_sharded(step: nn.Module) -> bool:
    """Tell whether a step's trained weights lie in shards."""
    return isinstance(step, FSDPModule)


@contextmanager
def whole(step: nn.Module) -> Iterator[None]:
    """Hold the whole weights in every process inside, for what one of them does alone. All enter together."""
    if not isinstance(step, FSDPModule):
        yield
        return
    step.unshard()
    try:
        yield
    finally:
        step.reshard()


def share_gradients(step: nn.Module, last: bool) -> None:
    """Tell before a pass whether it is the last of its step: only then gradients are averaged over processes."""
    if isinstance(step, FSDPModule):
        step.set_requires_gradient_sync(last)


def average_numbers(step: nn.Module) -> None:
    """Average over processes the gradients of what cannot be cut, after a step's last backward pass."""
    if isinstance(step, FSDPModule):
        for parameter in step.parameters():
            if parameter.grad is not None and not isinstance(parameter, DTensor):
                dist.all_reduce(parameter.grad)
                parameter.grad /= dist.get_world_size()


def summed(tensor: Tensor) -> Tensor:
    """Return a number that may be in parts, one in each process."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gathered(tensor: Tensor) -> Tensor:
    """Return what may be in shards whole in the first process, on the CPU; nothing of it in the others."""
    if not isinstance(tensor, DTensor):
        return tensor
    full = tensor.full_tensor()
    return full.cpu() if dist.get_rank() == 0 else full.new_empty(0)


@torch.no_grad()
def fill(target: Tensor, value: Tensor) -> None:
    """Copy a whole tensor into one that may be in shards."""
    target.copy_(cut(value, target))


def cut(value: Tensor, like: Tensor) -> Tensor:
    """Return a whole tensor in shards where ``like`` is and has the same shape, on its device."""
    if not isinstance(like, DTensor) or value.shape != like.shape:
        return value
    # Every process has read the same file, so that nothing need be sent.
    on_device = value.to(like.device, like.dtype)
    return distribute_tensor(on_device, like.device_mesh, like.placements, src_data_rank=None)


def check_moments(optimizers: Sequence[torch.optim.Optimizer]) -> None:
    """Refuse optimizers that remember of a shard what cannot be put together again.

    Raises:
        ComponentError: names the optimizer.
    """
    for optimizer in optimizers:
        for parameter, moments in optimizer.state.items():
            own = [k for k, v in moments.items() if isinstance(v, Tensor) and v.dim() and not isinstance(v, DTensor)]
            if isinstance(parameter, DTensor) and own:
                raise ComponentError(
                    f"the optimizer {type(optimizer).__name__} keeps {own[0]!r} of each shard by itself, which no "
                    "checkpoint could hold: set train.parallel=ddp, or take adamw"
                )
