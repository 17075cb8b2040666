"""Checks that a component leaves alone what it shares: its inputs, the random generator, torch's settings."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from tunemv3d_core.testing.check import ConformanceError
from tunemv3d_core.testing.component import Built, ComponentUnderTest, awake, trainable
from tunemv3d_core.testing.seeding import seed_all
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


def check_no_seed_set(component: ComponentUnderTest) -> None:
    """It does not seed torch's random generator, which others share, neither when built nor when called."""
    first, second = _states(component, 1), _states(component, 2)
    for when in first:
        if torch.equal(first[when], second[when]):
            raise ConformanceError(f"{when} it sets the global random seed: draw from a torch.Generator of its own")


def check_process_left_alone(component: ComponentUnderTest) -> None:
    """It prints nothing, and changes no setting of torch that all code in the process shares."""
    if component.printed:
        text = "".join(component.printed)
        raise ConformanceError(f"it prints {text[:60]!r}; use logging, which its callers can turn off")
    if component.changed:
        settings = ", ".join(
            f"torch.{setter} ({before} to {after})" for setter, before, after in sorted(component.changed)
        )
        raise ConformanceError(f"it changes global settings of torch: {settings}")


def check_frozen_model_kept(component: ComponentUnderTest) -> None:
    """Built and trained, it leaves the frozen model's weights as they were, and frozen."""
    built = component.built()
    if parameters := list(trainable(built.module).values()):
        TrainingProbe(built).train()(built.batch()).backward()
        torch.optim.SGD(parameters, lr=0.1).step()
    before = component.stand_in_backbone().state_dict()
    for name, tensor in built.backbone.state_dict(keep_vars=True).items():
        if tensor.requires_grad:
            raise ConformanceError(f"the frozen model's {name} is trained: take backbone.copy_encoder() for a copy")
        if not torch.equal(tensor, before[name]):
            raise ConformanceError(f"the frozen model's {name} is changed: take backbone.copy_encoder() for a copy")


@torch.no_grad()
def check_skips_kept(component: ComponentUnderTest) -> None:
    """It leaves the frozen encoder's maps as they are: the frozen prediction is decoded from them too."""
    built = awake(component)
    batch = built.batch()
    skips = built.backbone.encode(batch.x_t, batch.t, batch.text)
    before, maps = [skip.clone() for skip in skips.maps], tuple(each.flatten(0, 1) for each in batch.maps)
    if component.slot == "injector":
        built.module(maps, skips)
    else:
        built.module.decode(skips, maps, batch.t, batch.text)
    for k, (skip, wanted) in enumerate(zip(skips.maps, before, strict=True)):
        if not torch.equal(skip, wanted):
            raise ConformanceError(f"map {k} of the skips is modified in place; modify a copy")


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
    seed_all(seed)
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


CHECKS = (check_inputs_kept, check_no_seed_set)
_BESIDE = (check_frozen_model_kept,)
OF_SLOT = {
    "backbone": (check_skips_kept,),
    "view_encoder": _BESIDE,
    "field": _BESIDE,
    "lifter": _BESIDE,
    "injector": (*_BESIDE, check_skips_kept),
}
