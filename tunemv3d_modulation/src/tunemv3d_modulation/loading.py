"""Reads the parts of a StableDiffusionPipeline: from a packaged asset, a local folder or the Hugging Face hub."""

import hashlib
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from huggingface_hub import snapshot_download
from transformers.models.clip.modeling_clip import CLIPTextModel
from transformers.models.clip.tokenization_clip import CLIPTokenizer
from transformers.utils import logging as transformers_logging

from tunemv3d_core.assets import find_asset
from tunemv3d_core.errors import ComponentError, TuneMV3DError

WEIGHTS = ("text_encoder", "vae", "unet")
PARTS = ("tokenizer", *WEIGHTS, "scheduler")


@dataclass(frozen=True)
class Parts:
    """The parts of a pipeline, in evaluation mode.

    Attributes:
        source: the local folder or the hub id that they came from.
        revision: of the hub id.
        scheduler: content of the pipeline's ``scheduler_config.json``.
    """

    source: str
    revision: str | None
    tokenizer: CLIPTokenizer
    text_encoder: CLIPTextModel
    vae: AutoencoderKL
    unet: UNet2DConditionModel
    scheduler: dict[str, Any]


def load_parts(pretrained: str, revision: str | None, dtype: torch.dtype) -> Parts:
    """Load a pipeline's parts in ``dtype``, whatever precision they are stored in.

    Raises:
        ComponentError: nothing of that name, a folder that is no pipeline, or a file that cannot be read; says what
            was looked for and where.
    """
    source = locate(pretrained)
    where: dict[str, Any] = {"revision": revision} if revision else {}
    part = "scheduler"
    try:
        if not Path(source).is_dir():
            # Asks the hub once; without a network the libraries below would try every file again and again.
            snapshot_download(source, allow_patterns=[f"{part}/*"], **where)
        with _quiet():
            scheduler = DDPMScheduler.load_config(source, subfolder=part, **where)
            part = "tokenizer"
            tokenizer = CLIPTokenizer.from_pretrained(source, subfolder=part, **where)
            _check_words(tokenizer)
            where["output_loading_info"] = True
            part = "text_encoder"
            text_encoder, told = CLIPTextModel.from_pretrained(source, subfolder=part, dtype=dtype, **where)
            _check_whole(told)
            part = "vae"
            vae, told = AutoencoderKL.from_pretrained(source, subfolder=part, torch_dtype=dtype, **where)
            _check_whole(told)
            part = "unet"
            unet, told = UNet2DConditionModel.from_pretrained(source, subfolder=part, torch_dtype=dtype, **where)
            _check_whole(told)
    except Exception as error:  # the two libraries raise a dozen kinds for a missing or a broken file
        raise ComponentError(_explain(pretrained, source, part, error)) from error
    return Parts(source, revision, tokenizer, text_encoder.eval(), vae.eval(), unet.eval(), dict(scheduler))


def locate(pretrained: str) -> str:
    """The folder of an asset or a path; otherwise ``pretrained`` itself where it can be an id on the hub.

    Raises:
        ComponentError: neither an asset nor a folder nor a possible hub id, or a folder that is no pipeline.
    """
    try:
        folder = find_asset(pretrained)
    except TuneMV3DError as error:
        if re.fullmatch(r"[\w.-]+/[\w.-]+", pretrained) and not pretrained.startswith("."):
            return pretrained
        raise ComponentError(f"backbone 'diffusers': no model {pretrained!r}: {error}") from None
    missing = [part for part in PARTS if not (folder / part).is_dir()]
    if missing:
        raise ComponentError(
            f"backbone 'diffusers': {folder} is no StableDiffusionPipeline folder: it lacks {', '.join(missing)}. "
            "Save one with diffusers' StableDiffusionPipeline.save_pretrained."
        )
    return str(folder)


def fingerprint(source: str, revision: str | None) -> dict[str, str]:
    """sha256 of every weight file of a pipeline that was loaded before, by its path within the pipeline."""
    local = Path(source)
    folder = local if local.is_dir() else Path(snapshot_download(source, revision=revision, local_files_only=True))
    files = sorted(f for part in WEIGHTS for f in (folder / part).iterdir() if f.suffix in (".safetensors", ".bin"))
    digests = {}
    for path in files:
        with path.open("rb") as file:
            digests[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def _check_words(tokenizer: CLIPTokenizer) -> None:
    """Without its files a tokenizer loads all the same, and knows no word."""
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise ValueError("no vocabulary; restore tokenizer.json, or vocab.json and merges.txt")


def _check_whole(told: dict[str, Any]) -> None:
    """Weights that the files lack are drawn at random by both libraries, with a warning at most."""
    missing = sorted(told["missing_keys"])
    if missing:
        raise ValueError(f"{len(missing)} weights are missing, such as {missing[0]}; restore or save the model again")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' log and transformers' bar out of the command's output: a fault is told in one message."""
    shown, level = transformers_logging.is_progress_bar_enabled(), logging.root.manager.disable
    transformers_logging.disable_progress_bar()
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(level)
        if shown:
            transformers_logging.enable_progress_bar()


def _explain(pretrained: str, source: str, part: str, error: Exception) -> str:
    reason = " ".join(str(error).split())
    reason = f"{type(error).__name__}: {reason[:300]}"
    if Path(source).is_dir():
        return f"backbone 'diffusers': cannot read {Path(source) / part}: {reason}"
    return (
        f"backbone 'diffusers': no model {pretrained!r}. Looked for an installed asset of that name, the folder "
        f"{Path(pretrained).absolute()}, and {part} of the hub id {source!r} in the local cache and online ({reason}). "
        "Offline, give the path of a local pipeline folder."
    )
