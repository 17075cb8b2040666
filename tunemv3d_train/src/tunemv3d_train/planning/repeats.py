"""Operators that run again on the same shapes: their results are made without asking torch again."""

from typing import Any

import torch
from torch import Tensor

from tunemv3d_train.planning.stand_ins import META


class Repeats:
    """Remembers the shapes that operators gave on meta tensors. A field's chunks, and layers, repeat many times."""

    def __init__(self) -> None:
        self._pure: dict[Any, bool] = {}
        self._results: dict[Any, Any] = {}

    def __call__(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run an operator, or give what it would give."""
        if not func._schema.returns:
            # It writes into what it is given: numbers that there are not. Not all such operators know meta tensors.
            return None
        if func not in self._pure:
            self._pure[func] = _is_pure(func)
        if not self._pure[func]:
            return func(*args, **kwargs)
        try:
            key = (func, _described(args), _described(tuple(kwargs.items())))
            if key in self._results:
                return _made(self._results[key])
        except TypeError:  # what is no key
            return func(*args, **kwargs)
        given = func(*args, **kwargs)
        self._results[key] = _shapes(given)
        return given


def _is_pure(func: Any) -> bool:
    """Tell whether an operator gives new tensors alone, by the shapes of what it is given."""
    schema = func._schema
    new = all(each.alias_info is None and isinstance(each.type, torch.TensorType) for each in schema.returns)
    return new and not schema.is_mutable and not func.is_view


def _described(value: Any) -> Any:
    if isinstance(value, Tensor):
        if not value.is_meta:
            raise TypeError("a tensor with numbers")
        return value.shape, value.stride(), value.storage_offset(), value.dtype
    if isinstance(value, tuple | list):
        return tuple(map(_described, value))
    return type(value), value


def _shapes(given: Any) -> Any:
    """Describe results: a tensor, several of them, or None where one is not asked for."""
    if isinstance(given, Tensor):
        return given.shape, given.stride(), given.dtype
    return None if given is None else tuple(map(_shapes, given))


def _made(shapes: Any) -> Any:
    if shapes is None:
        return None
    if isinstance(shapes[0], torch.Size):
        return torch.empty_strided(shapes[0], shapes[1], dtype=shapes[2], device=META)
    return tuple(map(_made, shapes))
