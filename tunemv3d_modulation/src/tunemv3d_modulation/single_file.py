"""Read a whole pipeline from one safetensors file in the original (LDM, sgm) layout, as model sites offer them."""

import warnings
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.loaders.single_file_utils import fetch_diffusers_config, load_single_file_checkpoint
from safetensors import safe_open
from torch import nn

from tunemv3d_core.errors import TuneMV3DWarning

UNET = "model.diffusion_model."
"""Prefix of the names of the UNet's weights."""

PREDICTIONS = {"epsilon": "epsilon", "v": "v_prediction", "v_prediction": "v_prediction", "sample": "sample"}
"""A scheduler's prediction type by the metadata ``modelspec.prediction_type``."""


def usual_config(file: Path) -> str:
    """Return the hub id of the pipeline of the same layout, as diffusers guesses it."""
    return str(fetch_diffusers_config(load_single_file_checkpoint(str(file)))["pretrained_model_name_or_path"])


def heed_markers(file: Path, scheduler: dict[str, Any]) -> dict[str, Any]:
    """Return a scheduler's config with what the file says of its model: the weights do not show it.

    Marks are the empty tensors ``v_pred`` and ``ztsnr`` and the metadata ``modelspec.prediction_type``.

    Raises:
        ValueError: metadata with an unknown prediction type.
    """
    with safe_open(file, "pt") as opened:
        names, metadata = set(opened.keys()), opened.metadata() or {}
    said: dict[str, Any] = {}
    if word := metadata.get("modelspec.prediction_type"):
        if word not in PREDICTIONS:
            raise ValueError(f"its metadata names the prediction type {word!r}; known are {', '.join(PREDICTIONS)}")
        said["prediction_type"] = PREDICTIONS[word]
    if "v_pred" in names:
        said["prediction_type"] = "v_prediction"
    if "ztsnr" in names:
        said["rescale_betas_zero_snr"] = True
    configured = {"prediction_type": "epsilon", "rescale_betas_zero_snr": False} | scheduler
    changed = [f"{option} is {value!r}" for option, value in said.items() if configured[option] != value]
    if changed:
        warnings.warn(
            f"{file}: the file says that {' and '.join(changed)}, other than its configs; the file is heeded",
            TuneMV3DWarning,
            stacklevel=2,
        )
    return {**scheduler, **said}


def read(file: Path, folder: Path, kind: str, dtype: torch.dtype) -> dict[str, Any]:
    """Read all parts of a pipeline by name.

    Args:
        file: all weights.
        folder: the pipeline's configs and tokenizers.
        kind: the pipeline's class.
        dtype: of the weights.

    Raises:
        ValueError: the file holds another model than the configs say. diffusers raises other kinds for the same.
    """
    with safe_open(file, "pt") as opened:
        names = set(opened.keys())
    # Parts that nothing here uses would be read from the folder, which need not have them.
    unused = {"feature_extractor": None, "image_encoder": None} | (
        {"safety_checker": None} if kind == "StableDiffusionPipeline" else {"add_watermarker": False}
    )
    try:
        pipe = getattr(diffusers, kind).from_single_file(
            str(file), config=str(folder), dtype=dtype, local_files_only=True, **unused
        )
    except NotImplementedError:  # torch's word on weights that were never filled
        raise ValueError("weights of the UNet or the VAE are missing") from None
    modules: dict[str, Any] = pipe.components
    for part, module in modules.items():
        missing = [n for n, p in module.named_parameters() if p.is_meta] if isinstance(module, nn.Module) else []
        if missing:
            raise ValueError(f"{len(missing)} weights of the {part} are missing, such as {missing[0]}")
    given, taken = sum(name.startswith(UNET) for name in names), len(modules["unet"].state_dict())
    if given != taken:
        raise ValueError(f"the file's UNet has {given} weights, but its config's {taken}")
    return modules
