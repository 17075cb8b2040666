"""Operators as they run: each is shown to whoever watches."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

Watcher = Callable[[Any, Any, Any, Any], None]
"""Is given an operator, its arguments, those by name, and what it gave."""


class Following(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Inside, every operator that reaches a device is shown to watchers, in the forward and in the backward pass.

    Args:
        watchers: see every operator; the list may change meanwhile.
        run: runs an operator.
    """

    def __init__(self, watchers: list[Watcher], run: Callable[[Any, Any, Any], Any] | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._watchers = watchers
        self._run = run or (lambda func, args, kwargs: func(*args, **kwargs))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunction():
            given = self._run(func, args, kwargs)
            for watcher in self._watchers:
                watcher(func, args, kwargs, given)
        return given
