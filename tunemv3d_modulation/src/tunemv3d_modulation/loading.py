"""Read the parts of a pipeline: from a packaged asset, a local folder, the Hugging Face hub or a single file."""

import json
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
from diffusers.utils import logging as diffusers_logging
from huggingface_hub import snapshot_download
from transformers.models.clip.modeling_clip import CLIPTextModel, CLIPTextModelWithProjection
from transformers.models.clip.tokenization_clip import CLIPTokenizer
from transformers.utils import logging as transformers_logging

from tunemv3d_core.errors import ComponentError, TuneMV3DError
from tunemv3d_core.io.caption_words import read_caption_words
from tunemv3d_core.plugins.assets import find_asset
from tunemv3d_modulation import single_file
from tunemv3d_modulation.lora import fuse_loras, lora_files
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
class Origin:
    """The place of a pipeline.

    Attributes:
        asked: the name in the spec.
        folder: the folder or hub id of its configs and tokenizers, and of its weights too unless there is a ``file``.
        revision: of a hub id.
        file: the single file that holds all weights.
    """

    asked: str
    folder: str
    revision: str | None = None
    file: Path | None = None

    @property
    def name(self) -> str:
        """Name in messages."""
        return str(self.file or self.folder)


@dataclass(frozen=True)
class Parts:
    """The parts of a pipeline, in evaluation mode.

    Attributes:
        source: the pipeline's name in messages.
        tokenizers: one for each text encoder.
        scheduler: content of the pipeline's ``scheduler_config.json``.
        zero_empty: whether the empty prompt is encoded as zeros.
        files: the files of the weights, by their names in the fingerprint.
        caption_words: words of the captions that the model was trained on, where its folder says it.
    """

    source: str
    tokenizers: tuple[CLIPTokenizer, ...]
    text_encoders: tuple[Any, ...]
    vae: AutoencoderKL
    unet: UNet2DConditionModel
    scheduler: dict[str, Any]
    zero_empty: bool
    files: dict[str, Path]
    caption_words: dict[str, int] | None = None


def load_parts(spec: DiffusersSpec, dtype: torch.dtype) -> Parts:
    """Load a pipeline's parts in ``dtype``, in whatever precision they are stored, and add the spec's LoRA weights.

    Raises:
        ComponentError: nothing of that name, a pipeline of another kind, a file that cannot be read or holds another
            model than its config says, or a LoRA of another model; says what was looked for and where.
    """
    origin, added = locate(spec), lora_files(spec.lora)
    with _reading(origin, "model_index.json"):
        folder = _configs(origin)
        index = json.loads((folder / "model_index.json").read_text("utf-8"))
    kind, names = index.get("_class_name"), _part_names(origin, index)
    with _reading(origin, "scheduler"):
        scheduler = _scheduler(folder, index)
    if origin.file is None:
        modules = {name: _read(origin, name, dtype) for name in names}
    else:
        with _reading(origin, origin.file.name):
            modules = single_file.read(origin.file, folder, kind, scheduler, dtype)
        modules = {name: modules[name] for name in names}
    for name, words in modules.items():
        if name.startswith("tokenizer"):
            with _reading(origin, name):
                _check_words(words)
    with _quiet():
        fuse_loras(kind, modules, [(path, lora.scale) for path, lora in zip(added, spec.lora, strict=True)])
    return Parts(
        source=origin.name,
        tokenizers=tuple(part for name, part in modules.items() if name.startswith("tokenizer")),
        text_encoders=tuple(part.eval() for name, part in modules.items() if name.startswith("text_encoder")),
        vae=modules["vae"].eval(),
        unet=modules["unet"].eval(),
        scheduler=scheduler,
        zero_empty=index.get("force_zeros_for_empty_prompt", True),
        files=_weight_files(origin, kind) | {f"lora/{i}/{path.name}": path for i, path in enumerate(added)},
        caption_words=read_caption_words(folder),
    )


def locate(spec: DiffusersSpec) -> Origin:
    """Find what the spec names, without reading it.

    Raises:
        ComponentError: neither an asset nor a path nor a possible hub id, or a ``config`` where none belongs.
    """
    found = _find(spec.pretrained)
    if not (isinstance(found, Path) and found.is_file()):
        if spec.config is not None:
            raise ComponentError(
                f"backbone 'diffusers': 'config' is for a single file, but {found} is a whole pipeline: leave it out"
            )
        return Origin(spec.pretrained, str(found), spec.revision)
    if found.suffix != ".safetensors":
        raise ComponentError(f"backbone 'diffusers': {found}: a single file must be a .safetensors file")
    if spec.config is not None:
        return Origin(spec.pretrained, str(_find(spec.config)), spec.revision, found)
    with _reading(Origin(spec.pretrained, str(found)), ""):
        return Origin(spec.pretrained, single_file.usual_config(found), spec.revision, found)


def _find(name: str) -> Path | str:
    """Return the path of an asset or a local one; otherwise ``name`` itself where it can be an id on the hub."""
    try:
        return find_asset(name)
    except TuneMV3DError as error:
        if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not name.startswith("."):
            return name
        raise ComponentError(f"backbone 'diffusers': no model {name!r}: {error}") from None


def _configs(origin: Origin) -> Path:
    """Return the local folder of a pipeline's index and scheduler, for a single file of all configs and tokenizers."""
    folder = Path(origin.folder)
    if folder.is_dir():
        if not (folder / "model_index.json").is_file():
            raise ComponentError("no pipeline folder: it lacks model_index.json; save one with save_pretrained")
        return folder
    # Asks the hub once; without a network the libraries would try every file again and again.
    wanted = ["model_index.json", "scheduler/*"] if origin.file is None else ["*.json", "*.txt"]
    return Path(snapshot_download(origin.folder, revision=origin.revision, allow_patterns=wanted))


def _part_names(origin: Origin, index: dict[str, Any]) -> list[str]:
    """List the parts to read, tokenizers first.

    Raises:
        ComponentError: a pipeline of another kind, or one that lacks a part.
    """
    kind = index.get("_class_name")
    if isinstance(kind, list):  # a pipeline of the model's own, [module, class]
        kind = kind[-1] if kind else None
    if not isinstance(kind, str) or kind not in WEIGHTS:
        raise ComponentError(
            f"backbone 'diffusers': {origin.name} is a {kind}; this backbone takes {' and '.join(WEIGHTS)}"
        )
    weights = WEIGHTS[kind]
    names = [name.replace("text_encoder", "tokenizer") for name in weights if name.startswith("text_encoder")]
    names += weights
    folder = Path(origin.folder)
    missing = [
        name
        for name in (*names, "scheduler")
        if not (index.get(name) or [None, None])[1] or (folder.is_dir() and not (folder / name).is_dir())
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


def _scheduler(folder: Path, index: dict[str, Any]) -> dict[str, Any]:
    """Read the scheduler's config and try it; as in diffusers, the index says of which class it is."""
    config = json.loads((folder / "scheduler/scheduler_config.json").read_text("utf-8"))
    Schedule(config)
    config["_class_name"] = index["scheduler"][1]
    make_scheduler(config, "")
    return dict(config)


def _read(origin: Origin, name: str, dtype: torch.dtype) -> Any:
    """Read one part of a folder or hub id."""
    where: dict[str, Any] = {"subfolder": name} | ({"revision": origin.revision} if origin.revision else {})
    with _reading(origin, name):
        if name.startswith("tokenizer"):
            return CLIPTokenizer.from_pretrained(origin.folder, **where)
        # transformers says which weights have another shape only where it may go on; diffusers says it anyway.
        options = {"ignore_mismatched_sizes": True} if name.startswith("text_encoder") else {}
        model, info = CLASSES[name].from_pretrained(
            origin.folder, dtype=dtype, output_loading_info=True, **options, **where
        )
        _check_whole(info)
        return model


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


def _weight_files(origin: Origin, kind: str) -> dict[str, Path]:
    if origin.file is not None:
        return {origin.file.name: origin.file}
    folder = Path(origin.folder)
    if not folder.is_dir():
        folder = Path(snapshot_download(origin.folder, revision=origin.revision, local_files_only=True))
    files = [f for name in WEIGHTS[kind] for f in (folder / name).iterdir() if f.suffix in (".safetensors", ".bin")]
    return {path.relative_to(folder).as_posix(): path for path in sorted(files)}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' logs and bars out of the command's output: a fault is one message."""
    level = logging.root.manager.disable
    shown = [library for library in (transformers_logging, diffusers_logging) if library.is_progress_bar_enabled()]
    for library in shown:
        library.disable_progress_bar()
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(level)
        for library in shown:
            library.enable_progress_bar()


@contextmanager
def _reading(origin: Origin, part: str) -> Iterator[None]:
    """Say in one message what could not be read and why."""
    try:
        with _quiet():
            yield
    except ComponentError as error:
        raise ComponentError(f"backbone 'diffusers': {origin.name}: {error}") from error
    except Exception as error:  # the two libraries raise a dozen kinds for a missing or a broken file
        # What diffusers says next would have random weights in the place of those of another shape.
        reason = " ".join(str(error).split()).partition(". If you want to instead")[0]
        reason = f"{type(error).__name__}: {reason[:300]}"
        raise ComponentError(f"backbone 'diffusers': {_explain(origin, part, reason)}") from error


def _explain(origin: Origin, part: str, reason: str) -> str:
    local = Path(origin.folder).is_dir()
    if origin.file is not None and local:
        return f"cannot read {origin.file} by the configs in {origin.folder}: {reason}"
    if origin.file is not None:
        return (
            f"{origin.file}: no configs for this file: {part} of the hub id {origin.folder!r} is neither in the local "
            f"cache nor to be had online ({reason}). Name a local pipeline folder of this layout by the option 'config'"
        )
    if local:
        return f"cannot read {Path(origin.folder) / part}: {reason}"
    return (
        f"no model {origin.asked!r}. Looked for an installed asset of that name, the path "
        f"{Path(origin.asked).absolute()}, and {part} of the hub id {origin.folder!r} in the local cache and online "
        f"({reason}). Offline, give the path of a local pipeline folder."
    )
