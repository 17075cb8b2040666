"""LoRA files in the formats that are published, as diffusers takes them."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor, nn

from tunemv3d_core.finite import all_finite
from tunemv3d_core.io.json_files import read_json
from tunemv3d_modulation.adapters.lycoris import as_lora, is_lycoris

OTHERS = {
    "oft_": "an OFT",
    "boft_": "a BOFT",
    "ia3_l": "an (IA)3",
    "on_input": "an (IA)3",
    "glora_": "a GLoRA",
    ".a1.weight": "a GLoRA",
    "vera_lambda": "a VeRA",
    "lora_controlnet": "a Control-LoRA",
    ".diff": "a file of whole differences of weights",
}
"""Other methods by a part of their tensors' names."""

PEFT = "base_model.model."


def read_lora(source: Path | Mapping[str, Tensor], modules: Mapping[str, nn.Module]) -> dict[str, Tensor] | None:
    """Return a file's tensors where diffusers would not take them as they are; None where it would.

    Read are kohya's LoRA and LoCon, LoHa, LoKr, DoRA, PEFT's ``adapter_model.safetensors``, and diffusers' own files
    whose names lack the part of the pipeline.

    Args:
        source: a safetensors file, or its tensors, which are always returned.
        modules: the pipeline's, by part: "unet", "text_encoder".

    Raises:
        ValueError: another method, or numbers that are no weights.
    """
    tensors = load_file(source) if isinstance(source, Path) else dict(source)
    _check_method(tensors)
    check_numbers(tensors)
    config = source.with_name("adapter_config.json") if isinstance(source, Path) else Path()
    if any(name.startswith(PEFT) for name in tensors):
        return _from_peft(tensors, read_json(config) if config.is_file() else {}, modules)
    changed = as_lora(tensors) if any(is_lycoris(name) for name in tensors) else tensors
    if any(name.endswith(".dora_scale") for name in changed):
        return changed
    same = changed is tensors and isinstance(source, Path)
    return _with_parts(changed, modules) or (None if same else changed)


def _check_method(tensors: Mapping[str, Tensor]) -> None:
    for name in tensors:
        if what := next((what for word, what in OTHERS.items() if word in name), None):
            raise ValueError(f"it is {what} ({name}), which cannot be loaded; take a LoRA, LoCon, LoHa, LoKr or DoRA")


def check_numbers(tensors: Mapping[str, Tensor]) -> None:
    """Refuse tensors that are no floating-point numbers of 16 bits or more, or not finite.

    Raises:
        ValueError: names the first.
    """
    for name, tensor in tensors.items():
        if not name.endswith("alpha") and (not tensor.is_floating_point() or tensor.element_size() < 2):
            raise ValueError(f"{name} is no floating-point number but {tensor.dtype}")
        if not bool(all_finite(tensor)):
            raise ValueError(f"{name} is not finite: the file is damaged")


def _from_peft(
    tensors: dict[str, Tensor], config: dict[str, Any], modules: Mapping[str, nn.Module]
) -> dict[str, Tensor]:
    """Read a file of PEFT, whose ranks and alphas stand in a file beside it.

    Raises:
        ValueError: no such file, or several alphas in one adapter.
    """
    if not config:
        raise ValueError("its adapter_config.json is missing, which says how it is scaled; put it beside the file")
    plain = {name.removeprefix(PEFT): tensor for name, tensor in tensors.items()}
    rank, method = int(config["r"]), str(config.get("peft_type", "LORA"))
    alphas, ranks = (dict(config.get(f"{what}_pattern") or {}) for what in ("alpha", "rank"))

    def scale(module: str) -> float:
        own_rank, own_alpha = _matching(ranks, module, rank), _matching(alphas, module, alpha)
        return float(own_alpha / (own_rank**0.5 if config.get("use_rslora") else own_rank))

    alpha = float(config["lora_alpha" if method == "LORA" else "alpha"])
    if method != "LORA":
        if alphas or ranks:
            raise ValueError(f"it is a {method} with ranks of its own for some modules, which is not supported")
        return _with_parts(as_lora(plain, alpha / rank), modules) or {}
    scaled = {
        name: tensor * scale(name.split(".lora_B")[0]) if ".lora_B" in name else tensor
        for name, tensor in plain.items()
    }
    return _with_parts(scaled, modules) or {}


def _matching(pattern: Mapping[str, float], module: str, default: float) -> float:
    """Return a pattern's value for a module, as PEFT finds it: by the end of its name or a regular expression."""
    return next((value for key, value in pattern.items() if re.match(rf"(.*\.)?({key})$", module)), default)


def _with_parts(tensors: dict[str, Tensor], modules: Mapping[str, nn.Module]) -> dict[str, Tensor] | None:
    """Put the pipeline's part before names that lack it; None where none does."""
    if any(name.startswith(("lora_", *(f"{part}." for part in modules))) for name in tensors):
        return None
    part = next((part for part in modules if _has(modules[part], next(iter(tensors)))), "unet")
    return {f"{part}.{name}": tensor for name, tensor in tensors.items()}


def _has(module: nn.Module, name: str) -> bool:
    """Tell whether the tensor's module is one of this module's."""
    start = re.split(r"\.(?:processor\.)?(?:to_\w+_)?lora", name)[0]
    return any(own == start or own.startswith(f"{start}.") for own, _ in module.named_modules())
