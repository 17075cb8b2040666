"""Kernels of one's own in a plan of a run, which follows a step on tensors without numbers (``tunemv3d plan``).

Such a kernel is an operator of ``torch.library.custom_op`` with ``register_fake``. What it computes is told by torch's
``flop_counter.register_flop_formula``, and the memory that it takes while it runs by ``register_workspace``.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

Workspace = Callable[..., int]

_kernels: ContextVar[bool | None] = ContextVar("kernels", default=None)
_workspaces: dict[Any, Workspace] = {}


@contextmanager
def planning(kernels: bool) -> Iterator[None]:
    """Say inside that a run is planned.

    Args:
        kernels: whether with kernels of components' own.
    """
    token = _kernels.set(kernels)
    try:
        yield
    finally:
        _kernels.reset(token)


def kernels_planned() -> bool | None:
    """Tell whether a plan is made with kernels; None outside of a plan.

    The GPU that is planned for need not be here, so that nothing can be tried on it.
    """
    return _kernels.get()


def register_workspace(operator: Any) -> Callable[[Workspace], Workspace]:
    """Register a function that returns the bytes that an operator takes beside what it is given and gives.

    Args:
        operator: of ``torch.ops``, such as ``torch.ops.mine.kernel``. The function is called with its arguments, as
            meta tensors.
    """

    def register(count: Workspace) -> Workspace:
        _workspaces[operator] = count
        return count

    return register


def workspace(operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    """Return the bytes that an operator takes while it runs; 0 where nothing is registered."""
    count = _workspaces.get(operator)
    return 0 if count is None else count(*args, **kwargs)
