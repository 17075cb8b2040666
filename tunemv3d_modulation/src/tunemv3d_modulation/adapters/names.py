"""LoRA under one set of names, ``unet.MODULE.lora_A.weight``, whatever the file's are: to be compared with a model."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from diffusers.utils import (
    convert_state_dict_to_diffusers,
    convert_state_dict_to_peft,
    convert_unet_state_dict_to_peft,
)
from torch import Tensor, nn

DORA = ".dora_scale"


def with_magnitudes(pipe: Any, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return kohya's DoRA under PEFT's names, alphas multiplied in: diffusers leaves its magnitudes out.

    Args:
        pipe: a pipeline of diffusers.
        tensors: as kohya's and LyCORIS' files have them.

    Raises:
        ValueError: magnitudes of columns instead of rows, which PEFT has not.
    """
    for name, tensor in tensors.items():
        if name.endswith(DORA) and tensor.shape[0] == 1:
            raise ValueError("it is a DoRA with magnitudes of its inputs (LyCORIS without wd_on_out), which PEFT lacks")
    stems = [name.removesuffix(DORA) for name in tensors if name.endswith(DORA)]
    # diffusers translates the names of what looks like a LoRA: magnitudes take the place of one of its halves.
    marked: dict[str, Tensor] = {}
    for stem in stems:
        marked |= {f"{stem}.lora_down.weight": torch.zeros(1, 1), f"{stem}.lora_up.weight": tensors[stem + DORA]}
    plain = {name: tensor for name, tensor in tensors.items() if not name.endswith(DORA)}
    halves, magnitudes = unified(pipe, plain), unified(pipe, marked)
    found = {n.replace(".lora_B.weight", ".lora_magnitude_vector"): m for n, m in magnitudes.items() if ".lora_B." in n}
    shaped = {name: m.flatten() if m.ndim == 2 else m.transpose(0, 1) for name, m in found.items()}
    return halves | {name: tensor.contiguous() for name, tensor in shaped.items()}


def unified(pipe: Any, given: str | Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a LoRA's tensors under PEFT's names by part, alphas multiplied in.

    Args:
        pipe: a pipeline of diffusers.
        given: what its ``load_lora_weights`` takes.
    """
    source = given if isinstance(given, str) else dict(given)
    tensors, alphas, *_ = pipe.lora_state_dict(source, unet_config=pipe.unet.config)
    scaled = dict(tensors)
    for down in [name for name in tensors if ".down." in name]:
        alpha = next(
            (alphas[k] for k in (f"{down}.alpha", f"{down.split('.lora.')[0]}.alpha") if k in (alphas or {})), None
        )
        if alpha is not None:
            up = down.replace(".down.", ".up.")
            scaled[up] = tensors[up] * (alpha / tensors[down].shape[0])
    result: dict[str, Tensor] = {}
    for part in {name.split(".")[0] for name in scaled}:
        own = {name.removeprefix(f"{part}."): t for name, t in scaled.items() if name.startswith(f"{part}.")}
        if ".lora_A." in next(iter(own)):
            pass
        elif part == "unet":
            own = convert_unet_state_dict_to_peft(own)
        else:
            own = convert_state_dict_to_peft(convert_state_dict_to_diffusers(own))
        result |= {f"{part}.{name}": tensor for name, tensor in own.items()}
    return result


def as_kernels(tensors: dict[str, Tensor], modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Give flat halves the shape of the convolutions that they change: LoHa and LoKr write kernels as rows.

    Args:
        tensors: as ``unified`` returns them.
        modules: the model's, by part.
    """
    shaped = dict(tensors)
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        module = _find(modules.get(part), rest.split(".lora_")[0])
        if module is None or module.weight.ndim != 4 or tensor.ndim != 2 or ".lora_" not in rest:
            continue
        kernel = module.weight.shape[1:]
        if ".lora_A" in rest and tensor.shape[1] == kernel.numel():
            shaped[name] = tensor.reshape(-1, *kernel)
        elif ".lora_B" in rest:
            shaped[name] = tensor[..., None, None]
    return shaped


def misfits(tensors: Mapping[str, Tensor], modules: Mapping[str, nn.Module]) -> Iterator[str]:
    """Tell what of a LoRA has no place in a model, one sentence each.

    Args:
        tensors: as ``unified`` returns them.
        modules: the model's, by part.
    """
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        place = rest.split(".lora_")[0]
        module = _find(modules.get(part), place)
        if module is None:
            yield f"it changes {part}.{place}, which this model lacks"
        elif ".lora_A" in rest and tensor.shape[1:] != module.weight.shape[1:]:
            given, own = tensor.shape[1:].numel(), module.weight.shape[1:].numel()
            yield f"its {part}.{place} takes {given} numbers, this model's {own}"
        elif ".lora_B" in rest and tensor.ndim > 1 and tensor.shape[0] != module.weight.shape[0]:
            yield f"its {part}.{place} gives {tensor.shape[0]} numbers, this model's {module.weight.shape[0]}"


def _find(part: nn.Module | None, place: str) -> Any:
    """Return a layer by its name, with the prefix of older text encoders or without, below changes it may have."""
    if part is None:
        return None
    for name in (place, place.removeprefix("text_model.")):
        try:
            module: Any = part.get_submodule(name)
        except AttributeError:
            continue
        module = module.get_base_layer() if hasattr(module, "get_base_layer") else module
        return module if hasattr(module, "weight") else None
    return None
