"""What components and losses do of their own in a run: a call before each step, figures and pictures after a pass."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tunemv3d_core.errors import ComponentError
from tunemv3d_core.slots import FollowsSteps, Reports

PICTURE = "picture:"
"""What the names of pictures begin with among the tensors of a step."""

MOST = 16
"""Figures and pictures together that one component or loss may report."""

LARGEST = 1024
"""Pixels of a picture's longer side."""


def _asked(model: nn.Module, losses: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the modules of a model by their dotted place, and a spec's further losses by their name."""
    yield from ((place, module) for place, module in model.named_modules() if place)
    yield from losses.items()


class Followers:
    """The components and losses that ask for the number of each step.

    Args:
        model: every module of it may have ``on_step``.
        losses: the spec's further losses, by name.
    """

    def __init__(self, model: nn.Module, losses: Mapping[str, Any]) -> None:
        self._followers = {place: each for place, each in _asked(model, losses) if isinstance(each, FollowsSteps)}
        self._device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))

    def __call__(self, step: int, steps: int, seed: int) -> None:
        """Tell all of them that a step comes.

        Args:
            step: its number, from 0.
            steps: of the whole run.
            seed: of the run; with the step's number it seeds what they draw.
        """
        if not self._followers:
            return
        torch.manual_seed(seed * 1_000_003 + step)
        with torch.no_grad():
            for follower in self._followers.values():
                follower.on_step(step, steps)

    def unseen(self, step: int, steps: int, seed: int) -> str:
        """Tell all of them, and say what they changed that a captured step does not see; "" where it sees all."""
        before = {place: _held(follower, self._device) for place, follower in self._followers.items()}
        self(step, steps, seed)
        for place, follower in self._followers.items():
            now = _held(follower, self._device)
            if changed := sorted(name for name in now if now[name] != before[place].get(name, now[name])):
                return f"on_step of '{place}' changes '{changed[0]}', which is no tensor that is changed in its place"
        return ""


def _held(follower: Any, device: torch.device) -> dict[str, Any]:
    """Return plain attributes, and where tensors lie; changes of one on another device, which a graph misses, count."""
    held = dict(getattr(follower, "__dict__", {}))
    own = {name: value for name, value in held.items() if isinstance(value, bool | int | float | str)}
    if isinstance(follower, nn.Module):
        held |= dict(follower.named_buffers()) | dict(follower.named_parameters())
    tensors = {name: value for name, value in held.items() if isinstance(value, Tensor)}
    return own | {name: (v.data_ptr(), v._version if v.device != device else 0) for name, v in tensors.items()}


class Reporters:
    """The components and losses that have figures and pictures of their own.

    Args:
        model: every module of it may have ``report``.
        losses: the spec's further losses, by name.
    """

    def __init__(self, model: nn.Module, losses: Mapping[str, Any]) -> None:
        self._reporters = [(place, each) for place, each in _asked(model, losses) if isinstance(each, Reports)]

    def __call__(self) -> dict[str, Tensor]:
        """Return the figures of the pass that ended as ``PLACE/NAME``, pictures after ``PICTURE``, without gradient.

        Raises:
            ComponentError: a report is not what ``Reports`` says; names it.
        """
        found: dict[str, Tensor] = {}
        for place, reporter in self._reporters:
            given = reporter.report()
            if not isinstance(given, Mapping) or len(given) > MOST:
                got = f"{len(given)} of them" if isinstance(given, Mapping) else type(given).__name__
                raise ComponentError(f"report() of '{place}': should give at most {MOST} tensors by name, got {got}")
            for name, value in given.items():
                if error := _error(name, value):
                    raise ComponentError(f"report() of '{place}': '{name}' {error}")
                if f"{place}/{name}" in found:
                    raise ComponentError(f"'{place}/{name}' is reported twice; name the loss '{place}' otherwise")
                found[f"{'' if value.ndim == 0 else PICTURE}{place}/{name}"] = value.detach().float()
        return found


def _error(name: Any, value: Any) -> str:
    """Return why a tensor cannot be reported under a name; "" where it can."""
    if not isinstance(name, str) or not re.fullmatch(r"(?!t\b)[A-Za-z][A-Za-z0-9_-]*", name):
        return "is no name: use letters, digits, '_' and '-', a letter first, and not 't', which is a noise level's"
    if not isinstance(value, Tensor):
        return f"is {type(value).__name__}; give a tensor, which is read only when it is logged"
    if value.ndim == 0 or (value.ndim == 3 and value.shape[0] == 3 and max(value.shape[1:]) <= LARGEST):
        return ""
    return (
        f"has the shape {tuple(value.shape)}; a figure has (), a picture (3, h, w) with at most {LARGEST} pixels a side"
    )


def pictures_of(outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the pictures among the tensors of a step, by ``PLACE/NAME``."""
    return {name.removeprefix(PICTURE): value for name, value in outputs.items() if name.startswith(PICTURE)}
