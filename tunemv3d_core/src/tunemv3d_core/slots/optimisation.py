"""Interfaces of optimizers and of the schedules of their learning rates."""

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor


@dataclass(frozen=True)
class OptimizerContext:
    """How a run will use an optimizer.

    Attributes:
        loss_scale: mean weight of L_denoise over t, at most 1: about 1e-4 under the target "x_prev". Constants that
            gradients are compared with, such as Adam's eps, shrink by it.
        captured: the run asks for its steps as a CUDA graph. An optimizer that can be in one says ``capturable`` in its
            ``defaults``, as torch's do; with another the run goes on without the graph.
    """

    loss_scale: float = 1.0
    captured: bool = False


class Optimizer(Protocol):
    """A ``torch.optim.Optimizer``. Built by ``build(spec, groups, context)``: its own options, torch's parameter
    groups, and an ``OptimizerContext``.

    Each group holds ``params`` and the ``lr`` and ``weight_decay`` that the spec gives them, which count over the
    optimizer's own defaults; vectors and scalars have a decay of 0. What is trained stays in those groups; the run
    sets their ``lr`` before each step.

    What it remembers stands in ``state``, by parameter, as tensors and plain numbers: that is saved, and a resumed run
    goes on with it bit for bit. Nothing else it keeps is saved.

    A step whose gradient is not finite must change nothing. Optimizers of torch with ``fused=True`` see to that
    themselves, on the device (``_step_supports_amp_scaling``); before a step of any other the run waits for the device
    to tell.
    """

    param_groups: list[dict[str, Any]]
    """The groups that it was built with."""
    state: MutableMapping[Tensor, Any]
    """What it remembers of each parameter."""
    defaults: dict[str, Any]
    """Options of a group that names none."""

    def step(self) -> object:
        """Change the parameters by their gradients, in place."""
        ...


class Schedule(Protocol):
    """The course of a learning rate. Built by ``build(spec)``.

    Warm-up is not its business: ``optimizer.warmup`` multiplies whatever it gives.
    """

    def __call__(self, step: int, steps: int) -> float:
        """Return the factor on the learning rate at a step: a finite number of at least 0.

        It is a function of its arguments alone, so that a resumed run needs nothing else.

        Args:
            step: number of the step, from 0 to ``steps - 1``.
            steps: of the whole run, ``train.steps``; a resumed run may have more than before.
        """
        ...
