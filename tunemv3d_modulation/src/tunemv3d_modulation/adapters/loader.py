"""LoRA and textual inversions on top of a backbone, by diffusers' own loaders."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from safetensors.torch import load_file
from torch import Tensor, nn

from tunemv3d_core.console import quiet
from tunemv3d_core.errors import ComponentError
from tunemv3d_modulation.adapters.formats import check_numbers
from tunemv3d_modulation.adapters.prepare import load_prepared, loader_pipeline
from tunemv3d_modulation.adapters.sources import EMBEDDING_NAMES, LORA_NAMES, find_file

Source = str | Path | Mapping[str, Tensor]
"""A file, a folder, a hub id, or tensors by name."""


class HasParts(Protocol):
    """A backbone made from a pipeline of diffusers, as far as it is needed here.

    Attributes:
        kind: the pipeline's class.
        lora_trained: whether it trains a LoRA of its own, named "default".
        prompts: with ``tokenizers`` and ``encoders``.
    """

    kind: str
    lora_trained: bool
    prompts: Any
    vae: Any
    unet: Any

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """See ``torch.nn.Module``."""
        ...


class Adapters:
    """LoRA and textual inversions on top of a backbone's frozen parts. What a lifter copied from it stays as it is.

    Args:
        backbone: whose parts are changed in place.
    """

    def __init__(self, backbone: HasParts) -> None:
        self._backbone = backbone
        self._weights: dict[str, float] = {}
        self.loaded: list[str] = []

    def _parts(self) -> dict[str, Any]:
        prompts, names = self._backbone.prompts, ("", "_2")
        tokenizers = {f"tokenizer{n}": words for n, words in zip(names, prompts.tokenizers, strict=False)}
        encoders = {f"text_encoder{n}": part for n, part in zip(names, prompts.encoders, strict=False)}
        return {**tokenizers, **encoders, "vae": self._backbone.vae, "unet": self._backbone.unet}

    def _modules(self) -> dict[str, nn.Module]:
        return {name: part for name, part in self._parts().items() if name == "unet" or name.startswith("text_encoder")}

    def _pipe(self) -> Any:
        return loader_pipeline(self._backbone.kind, self._parts())

    def load(self, source: Source, name: str | None = None, weight_name: str | None = None) -> str:
        """Load a LoRA and turn it on with weight 1; return its name.

        Raises:
            ComponentError: a name that is taken or no word, or a LoRA that cannot be read or does not fit.
        """
        name = name or f"lora-{len(self.loaded)}"
        if not re.fullmatch(r"[\w-]+", name) or name in self.loaded or name == "default":
            raise ComponentError(f"backbone 'diffusers': the LoRA's name {name!r} is taken, or is not one word")
        told = "from memory" if isinstance(source, Mapping) else str(source)
        try:
            with quiet("transformers", "diffusers"):
                self._load(source, name, weight_name)
        except Exception as error:  # diffusers and peft raise a dozen kinds
            self._forget(name)
            reason = " ".join(str(error).split())[:300]
            raise ComponentError(f"backbone 'diffusers': the LoRA {told} does not fit the model: {reason}") from error
        self.loaded.append(name)
        self._weights[name] = 1.0
        self._activate()
        return name

    def _load(self, source: Source, name: str, weight_name: str | None) -> None:
        pipe, modules = self._pipe(), self._modules()
        given = source if isinstance(source, Mapping) else find_file(str(source), LORA_NAMES, weight_name)
        load_prepared(pipe, given, modules, name)

    def set(self, names: str | Sequence[str], weights: Any = None) -> None:
        """Turn these on with their weights, 1 by default, and all others off.

        Raises:
            ComponentError: one that is not loaded, or not one weight for each.
        """
        names = [names] if isinstance(names, str) else list(names)
        given = list(weights) if isinstance(weights, Sequence) else [weights] * len(names)
        if strays := [name for name in names if name not in self.loaded]:
            known = ", ".join(self.loaded) or "none"
            raise ComponentError(f"backbone 'diffusers': no LoRA {strays[0]!r} is loaded; loaded: {known}")
        if len(given) != len(names):
            raise ComponentError(f"backbone 'diffusers': {len(names)} LoRA need {len(names)} weights, not {len(given)}")
        self._weights = {n: 1.0 if w is None else w for n, w in zip(names, given, strict=True)}
        self._activate()

    @property
    def active(self) -> list[str]:
        """Names of those that are on."""
        return list(self._weights)

    def _activate(self) -> None:
        """Turn on what should be, beside the changes that the backbone itself trains."""
        own = {"default": 1.0} if self._own else {}
        wanted = {**own, **self._weights}
        trained = {key: p.requires_grad for key, p in self._backbone.named_parameters()}
        with quiet("transformers", "diffusers"):
            if wanted:
                self._pipe().set_adapters(list(wanted), list(wanted.values()))
            elif self.loaded:
                self._pipe().disable_lora()
        if wanted and self.loaded:
            with quiet("transformers", "diffusers"):
                self._pipe().enable_lora()
        for key, parameter in self._backbone.named_parameters():
            # PEFT lets what is turned on train.
            parameter.requires_grad_(trained.get(key, False) and not any(f".{n}." in key for n in self.loaded))
        for part in self._modules().values():
            anchor = next(p for key, p in part.named_parameters() if ".lora_" not in key)
            for key, parameter in part.named_parameters():
                if ".lora_" in key and any(f".{name}." in key for name in self.loaded):
                    parameter.data = parameter.data.to(anchor.device, anchor.dtype)

    @property
    def _own(self) -> bool:
        return self._backbone.lora_trained

    def _forget(self, name: str) -> None:
        """Take out what a failed load may have left."""
        with quiet("transformers", "diffusers"):
            pipe = self._pipe()
            pipe.delete_adapters([name])
            if not self.loaded and not self._own:
                pipe.unload_lora_weights()
            else:
                self._activate()

    def unload(self) -> None:
        """Take out every LoRA that was loaded; the parts are what they were."""
        with quiet("transformers", "diffusers"):
            pipe = self._pipe()
            if self.loaded:
                pipe.delete_adapters(list(self.loaded))
            self.loaded, self._weights = [], {}
            if self._own:
                self._activate()
            else:
                pipe.unload_lora_weights()

    def load_embedding(self, source: Source, token: str | None = None, weight_name: str | None = None) -> None:
        """Load a textual inversion; its word, or the one that is given, may stand in prompts.

        XL's files hold one for each text encoder, ``clip_l`` and ``clip_g``.

        Raises:
            ComponentError: it cannot be read, its word is taken, or it was made for another model.
        """
        told = "from memory" if isinstance(source, Mapping) else str(source)
        try:
            file = None if isinstance(source, Mapping) else find_file(str(source), EMBEDDING_NAMES, weight_name)
            tensors = dict(source) if isinstance(source, Mapping) else load_file(file or "")
            check_numbers(tensors)
            with quiet("transformers", "diffusers"):
                self._load_embedding(tensors, token, file.stem if file is not None else None)
        except Exception as error:  # diffusers and transformers raise a dozen kinds
            reason = " ".join(str(error).split())[:300]
            raise ComponentError(f"backbone 'diffusers': the embedding {told} cannot be taken: {reason}") from error

    def _load_embedding(self, tensors: dict[str, Tensor], token: str | None, usual: str | None) -> None:
        parts, pipe = self._parts(), self._pipe()
        two = {"clip_l": "", "clip_g": "_2"}
        if tensors.keys() <= two.keys():
            pairs = [(tensors[key], end) for key, end in two.items() if key in tensors]
        elif "emb_params" in tensors:
            pairs = [(tensors["emb_params"], "")]
        elif len(tensors) == 1:
            word, tensor = next(iter(tensors.items()))
            pairs, usual = [(tensor, "")], usual if word == "*" else word
        else:
            raise ValueError(f"it holds {len(tensors)} tensors, and is no textual inversion")
        token = token or usual
        for tensor, end in pairs:
            encoder = parts.get(f"text_encoder{end}")
            width = None if encoder is None else encoder.config.hidden_size
            if tensor.shape[-1] != width:
                raise ValueError(
                    f"it was made for another model: its vectors have {tensor.shape[-1]} numbers, not {width}"
                )
            if token is None or token in parts[f"tokenizer{end}"].get_vocab():
                raise ValueError(f"its word {token!r} is taken; name another")
        if len(pairs) < len(self._backbone.prompts.encoders):
            raise ValueError("it was made for another model: it has no vectors for the second text encoder")
        for tensor, end in pairs:
            pipe.load_textual_inversion(
                tensor, token=token, tokenizer=parts[f"tokenizer{end}"], text_encoder=parts[f"text_encoder{end}"]
            )
            parts[f"text_encoder{end}"].requires_grad_(False)
