"""Checks that a component leaves alone what it shares: its inputs, the random generator, torch's settings."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from tunemv3d_core.testing.check import ConformanceError
from tunemv3d_core.testing.component import Built, ComponentUnderTest
from tunemv3d_core.testing.training_probe import TrainingProbe, call

SETTINGS = {
    "set_default_dtype": torch.get_default_dtype,
    "set_grad_enabled": torch.is_grad_enabled,
    "set_float32_matmul_precision": torch.get_float32_matmul_precision,
    "use_deterministic_algorithms": torch.are_deterministic_algorithms_enabled,
    "set_num_threads": torch.get_num_threads,
    "set_autocast_enabled": torch.is_autocast_enabled,
}
"""Settings that all code in a process shares: torch's function that sets one, and the one that reads it."""


def check_inputs_kept(component: ComponentUnderTest) -> None:
    """It modifies none of its inputs, neither in evaluation nor in training."""
    built = component.built()
    batch = built.batch()
    with torch.no_grad():
        call(built, batch)
    TrainingProbe(built).train()(batch)
    for (name, given), (_, drawn_again) in zip(tensors_of(batch), tensors_of(built.batch()), strict=True):
        if not torch.equal(given, drawn_again):
            raise ConformanceError(f"{name} are modified in place, but others use the same tensors; modify a copy")


def check_torch_left_alone(component: ComponentUnderTest) -> None:
    """It neither seeds torch's random generator nor changes a setting of torch that others share."""
    first, second = _states(component, 1), _states(component, 2)
    for when in first:
        if torch.equal(first[when], second[when]):
            raise ConformanceError(f"{when} it sets the global random seed: draw from a torch.Generator of its own")
    if component.changed:
        settings = ", ".join(
            f"torch.{setter} ({before} to {after})" for setter, before, after in sorted(component.changed)
        )
        raise ConformanceError(f"it changes global settings of torch: {settings}")


@contextmanager
def settings_kept(changed: set[tuple[str, str, str]]) -> Iterator[None]:
    """Restore torch's settings afterwards, and add those that were changed: (function, before, after)."""
    before = {setter: read() for setter, read in SETTINGS.items()}
    try:
        yield
    finally:
        for setter, read in SETTINGS.items():
            if (after := read()) != before[setter]:
                changed.add((setter, str(before[setter]), str(after)))
                getattr(torch, setter)(before[setter])


def _states(component: ComponentUnderTest, seed: int) -> dict[str, Tensor]:
    """Return the random generator's state after the build and after a training step, each seeded before."""
    built: Built = component.built(seed=seed)
    after_build = torch.get_rng_state()
    with settings_kept(component.changed):
        torch.manual_seed(seed)
        TrainingProbe(built).train()(built.batch())
    return {"when built": after_build, "when called": torch.get_rng_state()}


def tensors_of(value: Any, name: str = "inputs") -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a batch, or of any dataclass, by name."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, tuple):
        for each in value:
            yield from tensors_of(each, name)
    elif is_dataclass(value):
        for field in fields(value):
            yield from tensors_of(getattr(value, field.name), field.name)


CHECKS = (check_inputs_kept, check_torch_left_alone)
OF_SLOT: dict[str, tuple[()]] = {}
