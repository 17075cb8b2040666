"""The work of a step: what every operator computes and moves."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import flop_registry

from tunemv3d_train.planning.parts import AtWork

FREE = frozenset("detach empty empty_like empty_strided new_empty new_empty_strided lift_fresh _unsafe_view".split())
"""Operators without a kernel, beside views."""


@dataclass(frozen=True)
class Operation:
    """One operator.

    Attributes:
        name: as in torch's library; of a component's own kernel with its library before two colons.
        flops: floating-point operations, of matrix products, attention, convolutions, and kernels that tell them.
        dtype: in which they are done.
        moved: bytes of tensors that are read and written.
        backward: whether autograd's engine called it.
        part: of the model.
    """

    name: str
    flops: int
    dtype: torch.dtype
    moved: int
    backward: bool
    part: str


class Operations:
    """Writes down operators that launch a kernel.

    Args:
        at_work: tells the part.

    Attributes:
        done: in their order.
    """

    def __init__(self, at_work: AtWork) -> None:
        self._at_work = at_work
        self.done: list[Operation] = []

    def __call__(self, func: Any, args: Any, kwargs: Any, given: Any) -> None:
        """Write down an operator (a ``Watcher``)."""
        name = func._overloadpacket.__name__ if func.namespace == "aten" else func.name()
        if func.is_view or name in FREE:
            return
        taken, made = _tensors((*args, *kwargs.values())), _tensors(given)
        count = flop_registry.get(func._overloadpacket)
        read = sum(map(_bytes, taken))
        # Where autograd's engine computes a part of the forward pass again, gradients are on.
        backward = torch._C._current_autograd_node() is not None and not torch.is_grad_enabled()
        self.done.append(
            Operation(
                name=name,
                flops=0 if count is None else int(count(*args, **kwargs, out_val=given)),
                dtype=next(_dtypes(args, taken), torch.float32),
                # What gives nothing writes into what it takes.
                moved=read + (sum(map(_bytes, made)) if made else read),
                backward=backward,
                part=self._at_work(),
            )
        )


def _dtypes(args: Any, taken: list[Tensor]) -> Iterator[torch.dtype]:
    """Yield in what an operator may compute: the type that it is given, else those of its tensors."""
    yield from (each for each in args if isinstance(each, torch.dtype))
    yield from (each.dtype for each in taken if each.is_floating_point())


def _tensors(values: Any) -> list[Tensor]:
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, list | tuple):
        return [tensor for value in values for tensor in _tensors(value)]
    return []


def _bytes(tensor: Tensor) -> int:
    """Count the bytes of a tensor's different numbers: an expanded one is read once."""
    numbers = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        numbers *= size if stride else 1
    return numbers * tensor.element_size()
