"""Layers that start at zero."""

from typing import TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)


def zero_init(module: M) -> M:
    """Set every parameter to zero, so that the module gives zeros until its first update, and return it."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module
