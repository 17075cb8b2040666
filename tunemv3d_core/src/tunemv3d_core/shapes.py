"""Checks of what components give, at every slot boundary."""

from collections.abc import Mapping

import torch
from einops import parse_shape
from torch import Tensor

from tunemv3d_core.config.run_spec import loss_name_error
from tunemv3d_core.errors import ComponentError, ShapeError


def check_shape(what: str, tensor: Tensor, pattern: str, **expected: int) -> dict[str, int]:
    """Check a tensor against named axes and return every axis's size.

    Nothing is checked while torch compiles, because the check is done once outside.

    Args:
        what: name of the tensor and its maker for the message, such as ``"features of view_encoder 'resattn'"``.
        tensor: the tensor.
        pattern: axis names, ``"b n f h w"``.
        expected: sizes that are already known.

    Raises:
        ShapeError: wrong number of axes, or an axis of another size.
    """
    if torch.compiler.is_compiling():
        return dict(zip(pattern.split(), tensor.shape, strict=True))
    names = pattern.split()
    if tensor.ndim != len(names):
        raise ShapeError(f"{what}: expected axes '{pattern}', got a tensor of shape {tuple(tensor.shape)}")
    sizes = parse_shape(tensor, pattern)
    wrong = {axis: size for axis, size in expected.items() if axis in sizes and sizes[axis] != size}
    if wrong:
        differing = ", ".join(f"{axis} = {size} (got {sizes[axis]})" for axis, size in wrong.items())
        raise ShapeError(f"{what}: expected {differing} in '{pattern}', got a tensor of shape {tuple(tensor.shape)}")
    return sizes


def check_scene_losses(field: str, losses: Mapping[str, Tensor]) -> None:
    """Check what ``Scene.losses`` gave: names that can be reported, and scalars.

    Args:
        field: who made the scene, for the message: ``"the field 'neus'"``.
        losses: what its scene gave.

    Raises:
        ComponentError: names the field and the loss.
    """
    for name, loss in losses.items():
        if error := loss_name_error(name):
            raise ComponentError(f"{field} gives a loss '{name}': '{name}' {error}")
        if not isinstance(loss, Tensor):
            raise ComponentError(f"{field} gives the loss '{name}' as {type(loss).__name__}, not as a tensor")
        if loss.ndim:
            raise ComponentError(f"{field} gives the loss '{name}' of shape {tuple(loss.shape)}, not a scalar")
