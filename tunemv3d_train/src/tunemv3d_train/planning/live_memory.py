"""The memory of tensors while a step runs: what lives, its peak, and which part of the model holds it."""

import weakref
from collections import Counter
from typing import Any, cast

import torch
from torch import Tensor

from tunemv3d_core.planned import workspace
from tunemv3d_train.planning.parts import AtWork
from tunemv3d_train.planning.prepared import Prepared


class LiveMemory:
    """Follows the storages of all tensors that operators give, by the part of the model at work.

    Args:
        device: type of the device whose tensors are meant, "meta" for stand-ins.
        at_work: tells the part.
        block: bytes to which every storage is rounded up.

    Attributes:
        peak: most bytes that lived at once since ``begin``.
        at_peak: those bytes by part.
    """

    def __init__(self, device: str, at_work: AtWork, block: int) -> None:
        self._device, self._block, self._at_work = device, block, at_work
        self._known: dict[int, tuple[str, int]] = {}
        self._live: Counter[str] = Counter()
        self._total = 0
        self.peak, self.at_peak = 0, Counter[str]()

    def __call__(self, func: Any, args: Any, kwargs: Any, given: Any) -> None:
        """Follow what an operator gave, and what it took meanwhile (a ``Watcher``)."""
        self._follow(given)
        taken = workspace(func._overloadpacket, args, kwargs)
        if self._total + taken > self.peak:
            self.begin()
            self.peak += taken
            self.at_peak[self._at_work()] += taken

    def _follow(self, given: Any) -> None:
        if isinstance(given, Tensor):
            self.follow(given)
        elif isinstance(given, tuple | list):
            for each in given:
                self._follow(each)

    def begin(self) -> None:
        """Forget the peak so far."""
        self.peak, self.at_peak = self._total, self._live.copy()

    def follow_all(self, prepared: Prepared) -> None:
        """Count what is there before a step by what it is, and gradients as such as soon as they are there."""
        for parameter in prepared.model.parameters():
            self.follow(parameter, "trained weights" if parameter.requires_grad else "frozen weights")
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(self._follow_gradient)  # type: ignore[no-untyped-call]
        for buffer in prepared.model.buffers():
            self.follow(buffer, "frozen weights")
        states = (state for each in prepared.optimisation.optimizers for state in each.state.values())
        for value in (value for state in states for value in state.values()):
            if isinstance(value, Tensor):
                self.follow(value, "optimizer state")
        for value in prepared.average.values.values() if prepared.average is not None else ():
            self.follow(value, "averaged weights")
        for value in prepared.batch.values():
            self.follow(cast(Tensor, value), "batch")

    def _follow_gradient(self, parameter: Tensor) -> None:
        assert parameter.grad is not None
        self.follow(parameter.grad, "gradients")

    def follow(self, tensor: Tensor, part: str | None = None) -> None:
        """Count a tensor's storage until it is freed; one that is known changes its part where one is given."""
        with torch._C.DisableTorchFunction():
            if tensor.device.type != self._device:
                return
            storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            if part is not None:
                before, size = self._known[key]
                self._known[key] = (part, size)
                self._live[before] -= size
                self._live[part] += size
            return
        size = -(-storage.nbytes() // self._block) * self._block
        part = part or self._at_work()
        self._known[key] = (part, size)
        self._live[part] += size
        self._total += size
        weakref.finalize(storage, self._freed, key).atexit = False
        if self._total > self.peak:
            self.begin()

    def _freed(self, key: int) -> None:
        part, size = self._known.pop(key)
        self._live[part] -= size
        self._total -= size
