"""State that a run needs to go on as if it had never stopped, as plain tensors and JSON values by name."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tunemv3d_core.config.old_names import current_tensor_names
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import CheckpointError, ComponentError
from tunemv3d_core.io.checkpoint import load_state, load_weights
from tunemv3d_train.moving_average import MovingAverage
from tunemv3d_train.sharding import cut, fill, gathered

RAW = "raw"
"""Kind of a parameter's own value, beside what an optimizer remembers of it (``exp_avg``), in ``KIND/PARAMETER``."""


def collect(
    parameters: Mapping[str, nn.Parameter], optimizers: Sequence[torch.optim.Optimizer], values: Mapping[str, Any]
) -> dict[str, Any]:
    """State for ``save_checkpoint``: raw parameters, what the optimizers remember of them, and JSON ``values``.

    Where weights lie in shards, all processes call it, and the first one's state is whole.

    Raises:
        ComponentError: an optimizer remembers something that is neither a tensor nor a number.
    """
    state: dict[str, Any] = dict(values)
    for name, parameter in parameters.items():
        state[f"{RAW}/{name}"] = gathered(parameter.detach())
        for optimizer in optimizers:
            for kind, value in optimizer.state.get(parameter, {}).items():
                if value is None:
                    continue
                if not isinstance(value, Tensor | int | float) or kind == RAW or "/" in str(kind):
                    told = f"{type(optimizer).__name__} keeps {kind!r} of '{name}', {type(value).__name__}"
                    raise ComponentError(f"the optimizer {told}: only tensors and numbers can be saved, under a word")
                state[f"{kind}/{name}"] = gathered(value) if isinstance(value, Tensor) else value
    return state


def restore(
    folder: Path,
    model: MultiviewDiffusion,
    parameters: Mapping[str, nn.Parameter],
    optimizers: Sequence[torch.optim.Optimizer],
    average: MovingAverage | None,
) -> dict[str, Any]:
    """Put a checkpoint's state back and return everything that was saved.

    Raises:
        CheckpointError: the checkpoint is not one of this model.
    """
    state = load_state(folder)
    load_weights(model, folder / "model.safetensors", copy=fill)
    state = _with_current_names(state, model)
    if average is not None:
        for name, value in average.values.items():
            value.copy_(parameters[name].detach())
    for name, parameter in parameters.items():
        if f"{RAW}/{name}" not in state:
            raise CheckpointError(f"{folder}: its state lacks '{name}'; it was saved by another model")
        fill(parameter, state[f"{RAW}/{name}"])
    remembered: dict[str, dict[str, Any]] = {name: {} for name in parameters}
    for key, value in state.items():
        kind, _, name = key.partition("/")
        if name in remembered and kind != RAW:
            remembered[name][kind] = value
    for optimizer in optimizers:
        _remind(optimizer, remembered)
    return state


def _remind(optimizer: torch.optim.Optimizer, remembered: Mapping[str, dict[str, Any]]) -> None:
    """Give an optimizer back what it remembered of each parameter, by name."""
    names = [name for group in optimizer.param_groups for name in group["names"]]
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    remembered = {
        name: {kind: cut(v, parameter) if isinstance(v, Tensor) else v for kind, v in remembered[name].items()}
        for name, parameter in zip(names, parameters, strict=True)
    }
    if not optimizer.state:
        # Torch numbers parameters through all groups, and knows what belongs on which device.
        moments = {number: remembered[name] for number, name in enumerate(names) if remembered[name]}
        optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
        return
    for name, parameter in zip(names, parameters, strict=True):
        own = optimizer.state[parameter]
        for kind, value in remembered[name].items():
            if isinstance(own.get(kind), Tensor):  # in place: a CUDA graph may hold it
                own[kind].copy_(value)
            else:
                own[kind] = value


def _with_current_names(state: dict[str, Any], model: MultiviewDiffusion) -> dict[str, Any]:
    """The state of parameters, ``kind/name``, under the names that the model has today."""
    names = {key: key.partition("/") for key in state}
    current = current_tensor_names(model.components, {name for _, slash, name in names.values() if slash})
    return {key if not slash else f"{kind}/{current[name]}": state[key] for key, (kind, slash, name) in names.items()}
