"""Optimizers and schedules for the tests of the kit: good ones, and some with mistakes."""

import math
from typing import Any

import torch


class Halves:
    """A schedule that halves each ten steps."""

    def __call__(self, step: int, steps: int) -> float:
        return 0.5 ** (step // 10)


class DividesByTheRest(Halves):
    """Undefined at the last step."""

    def __call__(self, step: int, steps: int) -> float:
        return math.nan if step == steps - 1 else 1 / (steps - 1 - step)


class Counts(Halves):
    """Counts its calls in place of the steps."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, step: int, steps: int) -> float:
        self.calls += 1
        return 0.9**self.calls


class Momentum(torch.optim.Optimizer):
    """Gradient descent with a running mean."""

    def __init__(self, groups: Any) -> None:
        super().__init__(groups, {"lr": 1.0, "weight_decay": 0.0})
        self.calls = 0

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        self.calls += 1
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self.change(parameter, parameter.grad, group)

    def change(self, parameter: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        mean = self.state[parameter].setdefault("mean", torch.zeros_like(parameter))
        mean.lerp_(gradient, 0.5)
        parameter.sub_(group["lr"] * mean)


class KeepsItsOwnLr(Momentum):
    def change(self, parameter: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        super().change(parameter, gradient, {"lr": 0.01})


class Climbs(Momentum):
    def change(self, parameter: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        super().change(parameter, -gradient, group)


class RemembersElsewhere(Momentum):
    """Corrects for a count that no state holds."""

    def change(self, parameter: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        super().change(parameter, gradient / (1 - 0.5**self.calls), group)


class KeepsALock(Momentum):
    def change(self, parameter: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        super().change(parameter, gradient, group)
        self.state[parameter]["names"] = ["a"]
