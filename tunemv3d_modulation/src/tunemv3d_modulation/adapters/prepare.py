"""One LoRA put into a model by diffusers' loader, after it was read and compared with the model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor, nn

from tunemv3d_modulation.adapters.formats import read_lora
from tunemv3d_modulation.adapters.names import DORA, as_kernels, misfits, unified, with_magnitudes


def loader_pipeline(kind: str, parts: dict[str, Any]) -> Any:
    """Make a pipeline of diffusers around a model's parts, for its loaders: nothing is sampled with it.

    Args:
        kind: the pipeline's class.
        parts: its parts by name.
    """
    # The options keep its warnings away.
    scheduler = DDIMScheduler(steps_offset=1, clip_sample=False)
    none: dict[str, Any] = {"requires_safety_checker": False, "safety_checker": None}
    options = {"add_watermarker": False} if "text_encoder_2" in parts else none
    return getattr(diffusers, kind)(**parts, scheduler=scheduler, feature_extractor=None, **options)


def load_prepared(pipe: Any, source: Path | Mapping[str, Tensor], modules: Mapping[str, nn.Module], name: str) -> None:
    """Load a LoRA under a name.

    Args:
        pipe: of ``loader_pipeline``.
        source: a safetensors file, or its tensors.
        modules: the UNet and the text encoders by part.
        name: of the adapter.

    Raises:
        ValueError: another method, or it was made for another model. diffusers and peft raise other kinds.
    """
    tensors = read_lora(source, modules)
    if tensors is None:
        given: Any = str(source)
        wanted = unified(pipe, given)
    else:
        dora = any(key.endswith(DORA) for key in tensors)
        given = wanted = as_kernels(with_magnitudes(pipe, tensors) if dora else unified(pipe, tensors), modules)
    if wrong := list(misfits(wanted, modules)):
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise ValueError(f"it was made for another model: {wrong[0]}{more}")
    pipe.load_lora_weights(given, adapter_name=name)
    placed = sum(".lora_" in key and f".{name}" in key for m in modules.values() for key, _ in m.named_parameters())
    if placed != len(wanted):
        raise ValueError(f"only {placed} of its {len(wanted)} tensors have a place in this model")
