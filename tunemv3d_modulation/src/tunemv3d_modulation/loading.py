"""Read the parts of a pipeline: from a packaged asset, a local folder, the Hugging Face hub or a single file."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from transformers.models.clip.configuration_clip import CLIPTextConfig
from transformers.models.clip.modeling_clip import CLIPTextModel, CLIPTextModelWithProjection
from transformers.models.clip.tokenization_clip import CLIPTokenizer

from tunemv3d_core.console import quiet
from tunemv3d_core.errors import ComponentError, TuneMV3DWarning
from tunemv3d_core.foreign_text import shown
from tunemv3d_core.io.caption_words import read_caption_words
from tunemv3d_core.io.json_files import read_json
from tunemv3d_core.io.provenance import sha256
from tunemv3d_modulation import single_file
from tunemv3d_modulation.lora import fuse_loras, lora_files
from tunemv3d_modulation.pretrained.origin import Origin, local_folder, locate, reading
from tunemv3d_modulation.pretrained.weight_files import (
    Weights,
    check_finite,
    check_numbers,
    choose_weights,
    weight_paths,
)
from tunemv3d_modulation.schedule import Schedule, make_scheduler
from tunemv3d_modulation.spec import DiffusersSpec

CLASSES: dict[str, Any] = {
    "text_encoder": CLIPTextModel,
    "text_encoder_2": CLIPTextModelWithProjection,
    "vae": AutoencoderKL,
    "unet": UNet2DConditionModel,
}
WEIGHTS = {
    "StableDiffusionPipeline": ("text_encoder", "vae", "unet"),
    "StableDiffusionXLPipeline": ("text_encoder", "text_encoder_2", "vae", "unet"),
}
"""The parts with weights, by the class of a pipeline that this backbone takes."""


@dataclass(frozen=True)
class Parts:
    """The parts of a pipeline, in evaluation mode.

    Attributes:
        source: the pipeline's name in messages.
        kind: the pipeline's class.
        tokenizers: one for each text encoder.
        scheduler: content of the pipeline's ``scheduler_config.json``.
        zero_empty: whether the empty prompt is encoded as zeros.
        fingerprint: the sha256 of every file of weights that was read, by its name.
        caption_words: words of the captions that the model was trained on, where its folder says it.
    """

    source: str
    kind: str
    tokenizers: tuple[CLIPTokenizer, ...]
    text_encoders: tuple[Any, ...]
    vae: AutoencoderKL
    unet: UNet2DConditionModel
    scheduler: dict[str, Any]
    zero_empty: bool
    fingerprint: dict[str, str]
    caption_words: dict[str, int] | None = None


def load_parts(spec: DiffusersSpec, dtype: torch.dtype, weights: bool = True) -> Parts:
    """Load a pipeline's parts in ``dtype``, in whatever precision they are stored, and add the spec's LoRA weights.

    Args:
        spec: which pipeline.
        dtype: of its weights.
        weights: whether they are read. Where not, they lie on the meta device, and configs and tokenizers suffice.

    Raises:
        ComponentError: nothing of that name, a pipeline of another kind, a file that cannot be read or holds another
            model than its config says, or a LoRA of another model; says what was looked for and where.
    """
    origin, added = locate(spec), lora_files(spec.lora)
    with reading(origin, "model_index.json"):
        folder = local_folder(origin, list(CLASSES), spec.variant, spec.pickle, weights)
        index = read_json(folder / "model_index.json")
    names = _part_names(origin, folder, index)
    kind = str(index["_class_name"])
    with reading(origin, "scheduler"):
        scheduler = read_json(folder / "scheduler/scheduler_config.json")
        if origin.file is not None:
            scheduler = single_file.heed_markers(origin.file, scheduler)
        scheduler = _checked(scheduler, index)
    if weights:
        modules, files = _with_weights(origin, folder, kind, names, spec, dtype)
        _check(origin, modules, files.values())
        with quiet("transformers", "diffusers"):
            fuse_loras(kind, modules, [(path, lora.scale) for path, lora in zip(added, spec.lora, strict=True)])
        files |= {f"lora/{i}/{path.name}": path for i, path in enumerate(added)}
    else:
        modules, files = {name: _without_weights(origin, folder, name, dtype) for name in names}, {}
    return Parts(
        source=origin.name,
        kind=kind,
        tokenizers=tuple(part for name, part in modules.items() if name.startswith("tokenizer")),
        text_encoders=tuple(part.eval() for name, part in modules.items() if name.startswith("text_encoder")),
        vae=modules["vae"].eval(),
        unet=modules["unet"].eval(),
        scheduler=scheduler,
        zero_empty=index.get("force_zeros_for_empty_prompt", True),
        fingerprint={name: sha256(path) for name, path in files.items()},
        caption_words=read_caption_words(folder),
    )


def _with_weights(
    origin: Origin, folder: Path, kind: str, names: list[str], spec: DiffusersSpec, dtype: torch.dtype
) -> tuple[dict[str, Any], dict[str, Path]]:
    """Read the parts, and return them with the files of weights that were read, both by name."""
    files: dict[str, Path] = {}
    if origin.file is not None:
        with reading(origin, origin.file.name):
            modules = single_file.read(origin.file, folder, kind, dtype)
        return {name: modules[name] for name in names}, {origin.file.name: origin.file}
    weights = _weights(origin, folder, WEIGHTS[kind], spec)
    for name, chosen in weights.items():
        with reading(origin, name):
            files |= {path.relative_to(folder).as_posix(): path for path in weight_paths(folder, name, chosen)}
    return {name: _read(origin, folder, name, weights.get(name), dtype) for name in names}, files


def _without_weights(origin: Origin, folder: Path, name: str, dtype: torch.dtype) -> Any:
    """Read a tokenizer, or make a part of its config on the meta device."""
    if name not in CLASSES:
        return _read(origin, folder, name, None, dtype)
    with reading(origin, name), torch.device("meta"):
        if name.startswith("text_encoder"):
            return CLASSES[name](CLIPTextConfig.from_pretrained(folder, subfolder=name)).to(dtype)
        return CLASSES[name].from_config(CLASSES[name].load_config(folder, subfolder=name)).to(dtype)


def _part_names(origin: Origin, folder: Path, index: dict[str, Any]) -> list[str]:
    """List the parts to read, tokenizers first.

    Raises:
        ComponentError: a pipeline of another kind, or one that lacks a part.
    """
    kind = index.get("_class_name")
    if isinstance(kind, list):  # a pipeline of the model's own, [module, class]
        kind = kind[-1] if kind else None
    if not isinstance(kind, str) or kind not in WEIGHTS:
        raise ComponentError(
            f"backbone 'diffusers': {origin.name} is a {shown(kind)}; this backbone takes {' and '.join(WEIGHTS)}"
        )
    weights = WEIGHTS[kind]
    names = [name.replace("text_encoder", "tokenizer") for name in weights if name.startswith("text_encoder")]
    names += weights
    missing = [
        name
        for name in (*names, "scheduler")
        if not (index.get(name) or [None, None])[1] or not (folder / name).is_dir()
    ]
    if missing:
        raise ComponentError(
            f"backbone 'diffusers': {origin.folder} is no whole {kind}: it lacks {', '.join(missing)}. "
            f"Save one with diffusers' {kind}.save_pretrained."
        )
    for name in weights:
        if index[name][1] != CLASSES[name].__name__:
            raise ComponentError(
                f"backbone 'diffusers': {origin.name}: its {name} is a {index[name][1]} (needed: "
                f"{CLASSES[name].__name__})"
            )
    return names


def _checked(config: dict[str, Any], index: dict[str, Any]) -> dict[str, Any]:
    """Try a scheduler's config; as in diffusers, the index says of which class it is."""
    Schedule(config)
    config = {**config, "_class_name": index["scheduler"][1]}
    make_scheduler(config, "")
    return config


def _weights(origin: Origin, folder: Path, parts: Sequence[str], spec: DiffusersSpec) -> dict[str, Weights]:
    """Choose every part's files, and say once where half precision is all that is there."""
    names = [path.relative_to(folder).as_posix() for part in parts for path in (folder / part).iterdir()]
    chosen = {}
    for part in parts:
        with reading(origin, part):
            chosen[part] = choose_weights(names, part, spec.variant, spec.pickle)
    if spec.variant and not any(each.variant for each in chosen.values()):
        raise ComponentError(
            f"backbone 'diffusers': {origin.name}: no part has weights of the variant {spec.variant!r}; leave "
            "'variant' out"
        )
    if half := sorted({each.variant for each in chosen.values() if each.variant and each.variant != spec.variant}):
        warnings.warn(
            f"{origin.name}: holds weights in half precision alone ({', '.join(half)}), which are read",
            TuneMV3DWarning,
            stacklevel=2,
        )
    return chosen


def _read(origin: Origin, folder: Path, name: str, weights: Weights | None, dtype: torch.dtype) -> Any:
    """Read one part of a folder; ``weights`` are its files, None for a tokenizer."""
    with reading(origin, name):
        if weights is None:
            return CLIPTokenizer.from_pretrained(folder, subfolder=name)
        # transformers says which weights have another shape only where it may go on; diffusers says it anyway.
        options = {"ignore_mismatched_sizes": True} if name.startswith("text_encoder") else {}
        model, info = CLASSES[name].from_pretrained(
            folder,
            subfolder=name,
            dtype=dtype,
            variant=weights.variant,
            use_safetensors=not weights.pickled,
            local_files_only=True,
            output_loading_info=True,
            **options,
        )
        _check_whole(info)
        return model


def _check(origin: Origin, modules: dict[str, Any], files: Iterable[Path]) -> None:
    """Refuse what loads all the same: tokenizers that know no word, numbers of another kind, numbers not finite."""
    for path in files:
        with reading(origin, path.parent.name if origin.file is None else path.name):
            check_numbers(path)
    for name, module in modules.items():
        with reading(origin, name):
            if name.startswith("tokenizer"):
                _check_words(module)
            else:
                check_finite(module.state_dict())


def _check_words(tokenizer: CLIPTokenizer) -> None:
    """Refuse a tokenizer without its files: it loads all the same, and knows no word."""
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise ValueError("no vocabulary; restore tokenizer.json, or vocab.json and merges.txt")


def _check_whole(info: dict[str, Any]) -> None:
    """Refuse files that lack weights or hold too many: both libraries warn of them at most."""
    faults = [
        f"{len(names)} weights are {what}, such as {names[0]}"
        for what, key in (("missing", "missing_keys"), ("of another shape", "mismatched_keys"))
        if (names := sorted(str(name) for name in info[key]))
    ]
    if unexpected := sorted(info["unexpected_keys"]):
        faults.append(f"{len(unexpected)} weights have no place in its config's model, such as {unexpected[0]}")
    if faults:
        raise ValueError("; ".join(faults) + "; restore or save the model again")
