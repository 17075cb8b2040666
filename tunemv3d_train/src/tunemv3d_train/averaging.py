"""Means of gradients over processes within a captured step.

DDP, which does the same for eager steps, finds out between them what it has to wait for; a CUDA graph has no between.
"""

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn

BUCKET = 25 * 2**20
"""Numbers that are summed together: enough that the links are busy, few enough that sums begin early."""


class AveragedGradients:
    """Averages gradients over processes, bucket by bucket while the backward pass goes on.

    All processes must come by their gradients in the same order, as they do where they run the same step.

    Args:
        parameters: that are trained.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self._waiting: list[Tensor] = []
        self._sent: list[tuple[dist.Work, Tensor, list[Tensor]]] = []
        self._is_open = False
        for parameter in parameters:
            parameter.register_post_accumulate_grad_hook(self._gather)  # type: ignore[no-untyped-call]

    def begin(self) -> None:
        """Take the gradients of the backward pass that follows, and of no other before."""
        self._is_open = True

    def finish(self) -> None:
        """Put the means into the gradients' places, after the backward pass."""
        self._is_open = False
        self._send()
        for work, joint, gradients in self._sent:
            work.wait()  # the device's stream waits, not the process
            parts = torch.split(joint, [gradient.numel() for gradient in gradients])
            torch._foreach_copy_(gradients, [p.view_as(g) for p, g in zip(parts, gradients, strict=True)])
        self._sent = []

    def _gather(self, parameter: Tensor) -> None:
        if not self._is_open or parameter.grad is None:
            return
        self._waiting.append(parameter.grad)
        if sum(gradient.numel() for gradient in self._waiting) >= BUCKET:
            self._send()

    def _send(self) -> None:
        if not self._waiting:
            return
        joint = torch.cat([gradient.flatten() for gradient in self._waiting]) / dist.get_world_size()
        work = dist.all_reduce(joint, async_op=True)
        assert work is not None
        self._sent.append((work, joint, self._waiting))
        self._waiting = []
