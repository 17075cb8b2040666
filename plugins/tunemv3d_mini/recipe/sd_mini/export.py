"""The finished folder: what ``StableDiffusionPipeline.from_pretrained`` loads."""

import copy
import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from torch import Tensor
from transformers import CLIPTokenizer

from sd_mini.models import TextToImage, make_scheduler
from tunemv3d_core.io.atomic import atomic_folder


def load_weights(module: torch.nn.Module, weights: dict[str, Tensor]) -> None:
    """Load averaged weights by parameter name; buffers stay."""
    _, unexpected = module.load_state_dict(weights, strict=False)
    missing = {name for name, _ in module.named_parameters()} - set(weights)
    if missing or unexpected:
        raise RuntimeError(f"weights do not fit the module: missing {missing}, unexpected {unexpected}")


def write_pipeline(folder: Path, tokenizer: CLIPTokenizer, vae: AutoencoderKL, model: TextToImage) -> None:
    """Write float16 safetensors of everything; an older folder is replaced."""
    halves = copy.deepcopy(torch.nn.ModuleDict({"vae": vae, "unet": model.unet, "text": model.text_encoder}))
    halves.to(device="cpu", dtype=torch.float16, memory_format=torch.contiguous_format)
    pipeline = StableDiffusionPipeline(
        vae=halves["vae"],
        text_encoder=halves["text"],
        tokenizer=tokenizer,
        unet=halves["unet"],
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    with atomic_folder(folder, replace=True) as beside:
        pipeline.save_pretrained(beside, safe_serialization=True)
        _ask_for_float32(beside / "text_encoder" / "config.json")
        _forget_place(beside / "vae" / "config.json")
        _write_clip_files(beside / "tokenizer", tokenizer)


def folder_size(folder: Path) -> int:
    """Sum the bytes of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _ask_for_float32(path: Path) -> None:
    """Name float32 in the config: transformers keeps the stored type otherwise, while diffusers casts all else up."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("torch_dtype", None)
    path.write_text(json.dumps({**config, "dtype": "float32"}, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _forget_place(path: Path) -> None:
    """Diffusers notes the folder that a model was loaded from, which means nothing elsewhere."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("_name_or_path", None)
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _write_clip_files(folder: Path, tokenizer: CLIPTokenizer) -> None:
    """``vocab.json`` and ``merges.txt`` beside ``tokenizer.json``: CLIP's own format, which older readers want."""
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False) + "\n", encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in model["merges"])]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
