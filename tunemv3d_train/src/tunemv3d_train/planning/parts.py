"""Which part of the model is at work, in the forward pass and in the backward pass of what it computed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from tunemv3d_core.diffusion import MultiviewDiffusion

KEY = "part"
"""Key of an autograd node's metadata under which the part stands that made it."""

OTHER = "other"
"""Whatever no part does: losses, the batch."""


class AtWork:
    """Tells which part is at work."""

    def __init__(self) -> None:
        self._parts = [OTHER]

    def __call__(self) -> str:
        """Return the part that computes now; in the backward pass the one whose result it differentiates."""
        node = torch._C._current_autograd_node()
        if node is None:
            return self._parts[-1]
        return _metadata(node).get(KEY, OTHER)

    @contextmanager
    def inside(self, part: str) -> Iterator[None]:
        """Name the part of what is done inside."""
        self._parts.append(part)
        try:
            yield
        finally:
            self._parts.pop()

    def watch(self, model: MultiviewDiffusion) -> None:
        """Name the part of whatever the slots of a model do from now on."""
        self._watch(model.backbone, "encode", "2D encoder")
        self._watch(model.backbone, "decode", "2D decoder")
        if model.field is None:
            return
        for name, slot in (
            ("view encoder", model.view_encoder),
            ("lifter", model.lifter),
            ("injector", model.injector),
        ):
            self._watch(slot, "forward", name)
        self._watch(model.field, "fuse", "field", self._watch_scene)

    def _watch_scene(self, scene: Any) -> None:
        for method in ("render", "losses"):
            self._watch(scene, method, "field")

    def _watch(self, owner: Any, method: str, part: str, then: Callable[[Any], None] = lambda _: None) -> None:
        own = getattr(owner, method)

        def watched(*arguments: Any, **named: Any) -> Any:
            with self.inside(part):
                given = own(*arguments, **named)
            then(given)
            _tag(_tensors(given), part)
            return given

        setattr(owner, method, watched)


def _tag(outputs: Iterator[Tensor], part: str) -> None:
    """Write a part into the autograd nodes of its outputs, back to those that another part made."""
    waiting = [each.grad_fn for each in outputs if each.grad_fn is not None]
    while waiting:
        node = waiting.pop()
        if KEY not in _metadata(node):
            _metadata(node)[KEY] = part
            waiting += [before for before, _ in node.next_functions if before is not None]


def _metadata(node: Any) -> dict[str, str]:
    """Return what may be written of an autograd node; torch calls it a method, and it is a dict."""
    written: dict[str, str] = node.metadata
    return written


def _tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in what a slot gives."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for each in value:
            yield from _tensors(each)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
    elif is_dataclass(value):
        yield from _tensors([getattr(value, field.name) for field in fields(value)])
