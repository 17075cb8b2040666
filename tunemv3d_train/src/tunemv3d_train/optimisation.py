"""Parameter groups, learning rate schedule and the moving average of the weights."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tunemv3d_core.errors import SpecError

COSINE_FROM = 0.6


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that take gradients, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def parameter_groups(
    parameters: Mapping[str, nn.Parameter], lr: float, lr_scale: Mapping[str, float], weight_decay: float
) -> list[dict[str, Any]]:
    """AdamW groups, one for each learning rate, with and without weight decay.

    Args:
        parameters: by name; the name's first part is the slot.
        lr: base learning rate.
        lr_scale: factors by prefix of the parameter's name ("field", "lifter.stem"); the longest that fits counts.
        weight_decay: for matrices; vectors and scalars (norms, biases, the field's variance) get none.

    Raises:
        SpecError: nothing to train, or a prefix that no parameter has.
    """
    if not parameters:
        raise SpecError("model: nothing is trainable; add a field, or set model.backbone.trainable to 'all'")
    for prefix in lr_scale:
        if not any(_within(name, prefix) for name in parameters):
            slots = ", ".join(sorted({name.split(".")[0] for name in parameters}))
            raise SpecError(f"optimizer.lr_scale.{prefix}: no trainable parameter starts so; slots: {slots}")
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in parameters.items():
        fitting = [prefix for prefix in lr_scale if _within(name, prefix)]
        rate = lr * (lr_scale[max(fitting, key=len)] if fitting else 1.0)
        decay = weight_decay if parameter.ndim >= 2 else 0.0
        group = {"params": [], "names": [], "lr": rate, "base_lr": rate, "weight_decay": decay}
        members = groups.setdefault((rate, decay), group)
        members["params"].append(parameter)
        members["names"].append(name)
    return list(groups.values())


def _within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def lr_factor(step: int, steps: int, warmup: int, schedule: str) -> float:
    """The learning rate's factor at a step (from 0): linear warm-up, constant, and with the schedule "cosine" half a
    cosine to zero after 60 % of the steps.
    """
    rising = min(1.0, (step + 1) / max(1, warmup))
    start = COSINE_FROM * steps
    if schedule == "constant" or step < start:
        return rising
    return rising * 0.5 * (1 + math.cos(math.pi * (step - start) / (steps - start)))


def set_lr(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's learning rate to its base rate times ``factor``; in place where a CUDA graph reads it."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(group["base_lr"] * factor)
        else:
            group["lr"] = group["base_lr"] * factor


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
