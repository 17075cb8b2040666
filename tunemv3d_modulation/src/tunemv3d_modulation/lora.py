"""Low-rank changes of the 2D model: a user's own are added to its weights, new ones are trained."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from tunemv3d_core.errors import ComponentError
from tunemv3d_core.foreign_text import shown
from tunemv3d_core.io.file_names import path_of
from tunemv3d_core.io.json_files import is_plain
from tunemv3d_modulation.adapters.prepare import load_prepared, loader_pipeline
from tunemv3d_modulation.spec import LoraFile

Copy = TypeVar("Copy", bound=nn.Module)

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
"""The projections of a UNet's attention that are trained."""


def lora_files(loras: Sequence[LoraFile]) -> list[Path]:
    """Find the files.

    Raises:
        ComponentError: not there, or not safetensors.
    """
    paths = [path_of(lora.path) for lora in loras]
    for path in paths:
        if not is_plain(path):
            raise ComponentError(f"backbone 'diffusers': lora: no file {shown(path, 200)}")
        if path.suffix != ".safetensors":
            raise ComponentError(f"backbone 'diffusers': lora: {path} is no .safetensors file")
    return paths


def fuse_loras(kind: str, parts: dict[str, Any], loras: Sequence[tuple[Path, float]]) -> None:
    """Add LoRA weights to the UNet's and the text encoders' own, in place.

    Args:
        kind: the pipeline's class.
        parts: its parts by name.
        loras: files and scales.

    Raises:
        ComponentError: a file that cannot be read or does not fit this model.
    """
    if not loras:
        return
    pipe = loader_pipeline(kind, parts)
    modules = {name: part for name, part in parts.items() if name == "unet" or name.startswith("text_encoder")}
    for path, scale in loras:
        try:
            load_prepared(pipe, path, modules, "fused")
            pipe.fuse_lora(lora_scale=scale)
            pipe.unload_lora_weights()
        except Exception as error:  # diffusers and peft raise a dozen kinds
            reason = " ".join(str(error).split())[:300]
            raise ComponentError(f"backbone 'diffusers': the LoRA {path} does not fit the model: {reason}") from error


def add_adapters(unet: Any, rank: int) -> None:
    """Put trainable low-rank changes beside a UNet's attention projections, zero at the start."""
    # Heavy, and few need it.
    from peft import LoraConfig

    # "gaussian" draws A and leaves B zero, and with it the change B A.
    unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=ATTENTION))


def is_adapter(parameter: str) -> bool:
    """Return True for the name of a low-rank change's parameter."""
    return ".lora_" in parameter


def without_adapters(module: Copy) -> Copy:
    """Take every low-rank change out of a copied module, in place; its own weights stay as they are."""
    for name, child in list(module.named_modules()):
        if hasattr(child, "get_base_layer"):
            module.set_submodule(name, child.get_base_layer())
    return module
