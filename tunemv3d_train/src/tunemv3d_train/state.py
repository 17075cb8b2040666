"""State that a run needs to go on as if it had never stopped, as plain tensors and JSON values by name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tunemv3d_core.config.old_names import current_tensor_names
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import CheckpointError
from tunemv3d_core.io.checkpoint import load_state, load_weights
from tunemv3d_train.optimisation import MovingAverage

_ADAM = ("step", "exp_avg", "exp_avg_sq")
"""AdamW's state of a parameter; fused, it counts its steps beside the parameter."""


def collect(
    parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer, values: Mapping[str, Any]
) -> dict[str, Any]:
    """State for ``save_checkpoint``: raw parameters, AdamW's moments, and JSON ``values``."""
    state: dict[str, Any] = dict(values)
    for name, parameter in parameters.items():
        state[f"raw/{name}"] = parameter.detach()
        for key, tensor in optimizer.state.get(parameter, {}).items():
            state[f"{key}/{name}"] = tensor
    return state


def restore(
    folder: Path,
    model: MultiviewDiffusion,
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    average: MovingAverage | None,
) -> dict[str, Any]:
    """Put a checkpoint's state back and return everything that was saved.

    Raises:
        CheckpointError: the checkpoint is not one of this model.
    """
    state = load_state(folder)
    load_weights(model, folder / "model.safetensors")
    state = _with_current_names(state, model)
    if average is not None:
        for name, value in average.values.items():
            value.copy_(parameters[name].detach())
    for name, parameter in parameters.items():
        if f"raw/{name}" not in state:
            raise CheckpointError(f"{folder}: its state lacks '{name}'; it was saved by another model")
        with torch.no_grad():
            parameter.copy_(state[f"raw/{name}"])
        moments = {key: state[f"{key}/{name}"] for key in _ADAM if f"{key}/{name}" in state}
        own = optimizer.state[parameter]
        for key, tensor in moments.items():
            if key in own:  # in place: a CUDA graph may hold them
                own[key].copy_(tensor)
            else:
                own[key] = tensor.to(parameter.device)
    return state


def _with_current_names(state: dict[str, Any], model: MultiviewDiffusion) -> dict[str, Any]:
    """The state of parameters, ``kind/name``, under the names that the model has today."""
    names = {key: key.partition("/") for key in state}
    current = current_tensor_names(model.components, {name for _, slash, name in names.values() if slash})
    return {key if not slash else f"{kind}/{current[name]}": state[key] for key, (kind, slash, name) in names.items()}
