"""Low-rank changes of the 2D model: a user's own are added to its weights, new ones are trained."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import diffusers
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from safetensors import safe_open
from torch import nn

from tunemv3d_core.errors import ComponentError
from tunemv3d_modulation.spec import LoraFile

Copy = TypeVar("Copy", bound=nn.Module)

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
"""The projections of a UNet's attention that are trained."""


def lora_files(loras: Sequence[LoraFile]) -> list[Path]:
    """Find the files.

    Raises:
        ComponentError: not there, or not safetensors.
    """
    paths = [Path(lora.path).expanduser() for lora in loras]
    for path in paths:
        if not path.is_file():
            raise ComponentError(f"backbone 'diffusers': lora: no file {path}")
        if path.suffix != ".safetensors":
            raise ComponentError(f"backbone 'diffusers': lora: {path} is no .safetensors file")
    return paths


def fuse_loras(kind: str, modules: dict[str, Any], loras: Sequence[tuple[Path, float]]) -> None:
    """Add LoRA weights to the UNet's and the text encoders' own, in place.

    Args:
        kind: the pipeline's class.
        modules: its parts by name.
        loras: files and scales.

    Raises:
        ComponentError: a file that cannot be read or does not fit this model.
    """
    if not loras:
        return
    # Nothing is sampled with this pipeline; the options keep its warnings away.
    scheduler = DDIMScheduler(steps_offset=1, clip_sample=False)
    none: dict[str, Any] = {"requires_safety_checker": False, "safety_checker": None}
    options = {"add_watermarker": False} if "text_encoder_2" in modules else none
    pipe = getattr(diffusers, kind)(**modules, scheduler=scheduler, feature_extractor=None, **options)
    for path, scale in loras:
        try:
            _check_kind(path)
            tensors, *_ = pipe.lora_state_dict(str(path), unet_config=pipe.unet.config)
            pipe.load_lora_weights(str(path), use_safetensors=True)
            _check_fits(len(tensors), modules)
            pipe.fuse_lora(lora_scale=scale)
            pipe.unload_lora_weights()
        except Exception as error:  # diffusers and peft raise a dozen kinds
            reason = " ".join(str(error).split())[:300]
            raise ComponentError(
                f"backbone 'diffusers': the LoRA {path} does not fit the model: {type(error).__name__}: {reason}"
            ) from error


def _check_kind(path: Path) -> None:
    """Refuse a DoRA: diffusers leaves its magnitudes out, with a warning at most."""
    with safe_open(path, "pt") as file:
        if any("dora_scale" in name for name in file.keys()):
            raise ValueError("it is a DoRA, whose magnitudes diffusers cannot load")


def _check_fits(wanted: int, modules: dict[str, Any]) -> None:
    """Refuse tensors without a place in the model: diffusers leaves them out, with a warning at most."""
    trained = [module for module in modules.values() if isinstance(module, nn.Module)]
    loaded = sum(is_adapter(name) for module in trained for name, _ in module.named_parameters())
    if loaded != wanted:
        raise ValueError(f"only {loaded} of its {wanted} tensors have a place there; it was made for another model")


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
