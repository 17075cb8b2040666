"""What a run's parameters learn by: optimizers with their parameter groups, and the schedules of learning rates."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tunemv3d_core.assemble import build_component
from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.config.run_spec import OptimizerSpec, PartSpec
from tunemv3d_core.errors import ComponentError, SpecError
from tunemv3d_core.slots import OptimizerContext, Schedule


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that take gradients, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


@dataclass(frozen=True)
class Rule:
    """What a parameter learns by.

    Attributes:
        algorithm: options of the optimizer.
        schedule: options of the schedule.
        warmup: steps over which the learning rate rises.
        lr: the learning rate that the schedule and the warm-up multiply.
        weight_decay: that of the spec for matrices, 0 for vectors and scalars (norms, biases, a field's variance).
    """

    algorithm: ComponentSpec
    schedule: ComponentSpec
    warmup: int
    lr: float
    weight_decay: float


def rule_of(name: str, parameter: nn.Parameter, spec: OptimizerSpec) -> Rule:
    """Return the rule of a parameter: each option is that of the longest name in ``spec.parts`` that gives it."""
    around = sorted((part for part in spec.parts if _within(name, part)), key=len, reverse=True)

    def chosen(option: str, otherwise: Any) -> Any:
        given = (getattr(spec.parts[part], option) for part in around)
        return next((value for value in given if value is not None), otherwise)

    return Rule(
        algorithm=chosen("algorithm", spec.algorithm),
        schedule=chosen("schedule", spec.schedule),
        warmup=chosen("warmup", spec.warmup),
        lr=spec.lr * chosen("lr_scale", 1.0),
        weight_decay=chosen("weight_decay", spec.weight_decay) if parameter.ndim >= 2 else 0.0,
    )


def _within(name: str, part: str) -> bool:
    return name == part or name.startswith(part + ".")


class Optimisation:
    """The optimizers of a run, one for each algorithm, and the learning rates of their groups.

    Args:
        spec: the run's.
        parameters: by name; the name's first part is the slot.
        context: how the optimizers will be used.

    Attributes:
        optimizers: each with groups that have ``names`` beside ``params``.

    Raises:
        SpecError: nothing to train, or a part that no parameter is in.
        ComponentError: an optimizer or a schedule cannot be built, or is not what it should be.
    """

    def __init__(self, spec: OptimizerSpec, parameters: Mapping[str, nn.Parameter], context: OptimizerContext) -> None:
        self._spec = spec
        self._schedules: dict[str, Schedule] = {}
        self._names: dict[str, str] = {}
        _check_parts(spec.parts, parameters)
        grouped: dict[str, dict[str, dict[str, Any]]] = {}
        algorithms: dict[str, ComponentSpec] = {}
        for name, parameter in parameters.items():
            rule = rule_of(name, parameter, spec)
            key = rule.algorithm.model_dump_json()
            algorithms[key] = rule.algorithm
            group = grouped.setdefault(key, {}).setdefault(repr(rule), self._group(rule))
            group["params"].append(parameter)
            group["names"].append(name)
        self._own = self._schedule(spec.schedule)
        self.optimizers = [_built(algorithms[key], [*groups.values()], context) for key, groups in grouped.items()]
        if context.captured and self.uncapturable is None:
            # A captured step reads its learning rates from the device, so that the schedule can change them.
            for group in self._groups():
                group["lr"] = torch.tensor(group["lr"], device=group["params"][0].device)

    @property
    def uncapturable(self) -> str | None:
        """The name of a class of optimizer that no CUDA graph can hold, if there is one."""
        unfit = (o for o in self.optimizers if not (o.defaults.get("capturable") and skips_by_itself(o)))
        return next((type(optimizer).__name__ for optimizer in unfit), None)

    def set_lr(self, step: int, steps: int) -> None:
        """Set every group's learning rate for a step (from 0) of so many; in place where a CUDA graph reads it.

        Raises:
            ComponentError: a schedule gives no factor; names it.
        """
        for group in self._groups():
            lr = group["base_lr"] * self._factor(group["schedule"], group["warmup"], step, steps)
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(lr)
            else:
                group["lr"] = lr

    def lr(self, step: int, steps: int) -> float:
        """Return the learning rate of whatever no part of the spec changes."""
        return self._spec.lr * self._factor(self._own, self._spec.warmup, step, steps)

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)

    def _groups(self) -> Iterator[dict[str, Any]]:
        for optimizer in self.optimizers:
            yield from optimizer.param_groups

    def _group(self, rule: Rule) -> dict[str, Any]:
        """Return a group without parameters. It names its schedule: torch copies groups, and what they hold."""
        own = {"base_lr": rule.lr, "warmup": rule.warmup, "schedule": self._schedule(rule.schedule)}
        return {"params": [], "names": [], "lr": rule.lr, "weight_decay": rule.weight_decay, **own}

    def _schedule(self, options: ComponentSpec) -> str:
        """Build a schedule where it is not yet there, and return the key that it stands under."""
        key = options.model_dump_json()
        if key not in self._schedules:
            self._schedules[key], self._names[key] = build_component("schedule", options), options.type
        return key

    def _factor(self, schedule: str, warmup: int, step: int, steps: int) -> float:
        given = self._schedules[schedule](step, steps)
        if not isinstance(given, int | float) or not math.isfinite(given) or given < 0:
            told = f"the schedule '{self._names[schedule]}' gives {given!r:.60} for step {step} of {steps}"
            raise ComponentError(f"{told}; it should give a finite number of at least 0")
        return min(1.0, (step + 1) / max(1, warmup)) * given


def skips_by_itself(optimizer: torch.optim.Optimizer) -> bool:
    """Tell whether an optimizer leaves out a step by itself where its ``found_inf`` is 1, as torch's fused ones do."""
    return bool(getattr(optimizer, "_step_supports_amp_scaling", False))


def _check_parts(parts: Mapping[str, PartSpec], parameters: Mapping[str, nn.Parameter]) -> None:
    if not parameters:
        raise SpecError("model: nothing is trainable; add a field, or set model.backbone.trainable to 'all'")
    for part in parts:
        if not any(_within(name, part) for name in parameters):
            slots = ", ".join(sorted({name.split(".")[0] for name in parameters}))
            raise SpecError(f"optimizer.parts.{part}: no trainable parameter starts so; slots: {slots}")


def _built(options: ComponentSpec, groups: list[dict[str, Any]], context: OptimizerContext) -> torch.optim.Optimizer:
    optimizer = build_component("optimizer", options, groups, context)
    if not isinstance(optimizer, torch.optim.Optimizer):
        kind = type(optimizer).__name__
        raise ComponentError(f"building the optimizer '{options.type}' gave {kind}, not a torch.optim.Optimizer")
    kept = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    if {id(parameter) for group in groups for parameter in group["params"]} != kept or any(
        "base_lr" not in group for group in optimizer.param_groups
    ):
        raise ComponentError(
            f"the optimizer '{options.type}' does not keep the groups that it is built with; pass them on"
        )
    return optimizer
