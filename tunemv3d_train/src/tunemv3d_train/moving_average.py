"""The moving average of the weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class MovingAverage:
    """Exponential moving average of parameters.

    The decay starts low, ``min(decay, (1 + k) / (10 + k))`` after k steps, so that short runs forget their start.

    Args:
        parameters: by name; updated in place by the optimizer.
        decay: in [0, 1).
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self._parameters = dict(parameters)
        self._decay = decay
        self.values = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        device = next(iter(parameters.values())).device
        self._share = torch.zeros((), device=device)

    def prepare(self, step: int) -> None:
        """Set the share of the new weights for a step. Outside the captured step, which reads it from the device."""
        self._share.fill_(1 - min(self._decay, (1 + step) / (10 + step)))

    @torch.no_grad()
    def update(self) -> None:
        """Move towards the parameters: ``average += share (parameter - average)``."""
        averages = list(self.values.values())
        difference = torch._foreach_sub(list(self._parameters.values()), averages)
        torch._foreach_mul_(difference, self._share)
        torch._foreach_add_(averages, difference)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model carries the average inside this context, its own weights again after it."""
        own = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}
        self._load(self.values)
        try:
            yield
        finally:
            self._load(own)

    @torch.no_grad()
    def _load(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(values[name])
