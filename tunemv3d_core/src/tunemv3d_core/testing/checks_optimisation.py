"""Checks that optimizers obey their groups and go on from checkpoints, and that schedules are functions of the step."""

import math
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from tunemv3d_core.slots import OptimizerContext
from tunemv3d_core.testing.check import Check, ConformanceError
from tunemv3d_core.testing.component import ComponentUnderTest
from tunemv3d_core.testing.seeding import seed_all

LENGTHS = (1, 2, 7, 100)
"""Lengths of runs that a schedule is asked about, in steps."""


def check_gives_factors(component: ComponentUnderTest) -> None:
    """It gives a finite factor of at least 0 for each step of short and long runs, the same whenever it is asked."""
    schedule = component.made()
    asked = [(step, steps) for steps in LENGTHS for step in range(steps)]
    first = [schedule(step, steps) for step, steps in asked]
    for (step, steps), factor in zip(asked, first, strict=True):
        if not isinstance(factor, int | float) or not math.isfinite(factor) or factor < 0:
            raise ConformanceError(
                f"it gives {factor!r:.60} for step {step} of {steps}: give a finite number, 0 or more"
            )
    again = component.made()
    for (step, steps), factor in zip(reversed(asked), reversed(first), strict=True):
        if again(step, steps) != factor:
            raise ConformanceError(f"asked in another order it gives another factor for step {step} of {steps}")


def check_obeys_groups(component: ComponentUnderTest) -> None:
    """It lowers a loss, by the lr of each group: where that is 0, or nothing has a gradient, nothing changes."""
    parameters, optimizer = _learning(component)
    start = [parameter.detach().clone() for parameter in parameters]
    idle = nn.Parameter(torch.ones(2, 2, device=component.device))
    optimizer.add_param_group({"params": [idle], "lr": 0.1, "weight_decay": 0.0})
    before = float(_loss(parameters).detach())
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    _steps(optimizer, parameters, 2)
    if not all(torch.equal(parameter, old) for parameter, old in zip(parameters, start, strict=True)):
        raise ConformanceError(
            "parameters change although the lr of their group is 0: read lr from param_groups each step"
        )
    for group in optimizer.param_groups:
        group["lr"] = 0.01
    _steps(optimizer, parameters, 60)
    if not bool((idle == 1).all()):
        raise ConformanceError("a parameter without a gradient changes although its weight decay is 0: leave it out")
    after = float(_loss(parameters).detach())
    if not after < before:
        raise ConformanceError(
            f"in 60 steps with lr 0.01 a bowl's loss went from {before:.3g} to {after:.3g}: it should fall"
        )


def check_goes_on(component: ComponentUnderTest) -> None:
    """What it remembers of each parameter is tensors and numbers, with which another one goes on bit for bit."""
    parameters, optimizer = _learning(component)
    _steps(optimizer, parameters, 3)
    for parameter in parameters:
        for name, value in optimizer.state.get(parameter, {}).items():
            if value is not None and not isinstance(value, Tensor | int | float):
                raise ConformanceError(f"its state '{name}' is {type(value).__name__}: keep tensors and numbers")
    others, other = _learning(component)
    with torch.no_grad():
        for theirs, ours in zip(others, parameters, strict=True):
            theirs.copy_(ours)
    other.load_state_dict({**other.state_dict(), "state": deepcopy(optimizer.state_dict()["state"])})
    for each, learned in ((optimizer, parameters), (other, others)):
        seed_all(1)
        _steps(each, learned, 3)
    if not all(torch.equal(one, two) for one, two in zip(parameters, others, strict=True)):
        raise ConformanceError(
            "another one, given its state, goes on otherwise: keep all that it remembers in state[parameter]"
        )


def _learning(component: ComponentUnderTest) -> tuple[list[nn.Parameter], Any]:
    """Build the optimizer on a matrix and a vector, in groups of their own."""
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(shape, generator=generator) for shape in ((4, 3), (3,))]
    parameters = [nn.Parameter(values.to(component.device)) for values in drawn]
    decays = (0.01, 0.0)
    groups = [{"params": [p], "lr": 0.01, "weight_decay": d} for p, d in zip(parameters, decays, strict=True)]
    return parameters, component.made(groups, OptimizerContext())


def _loss(parameters: list[nn.Parameter]) -> Tensor:
    return torch.stack([(parameter - 3).square().sum() for parameter in parameters]).sum()


def _steps(optimizer: Any, parameters: list[nn.Parameter], count: int) -> None:
    for _ in range(count):
        optimizer.zero_grad()
        loss: Any = _loss(parameters)
        loss.backward()
        optimizer.step()


OF_SLOT = {
    "schedule": (Check(check_gives_factors, ("discoverable",)),),
    "optimizer": (Check(check_obeys_groups, ("discoverable",)), Check(check_goes_on, ("obeys_groups",))),
}
"""Checks by slot."""
