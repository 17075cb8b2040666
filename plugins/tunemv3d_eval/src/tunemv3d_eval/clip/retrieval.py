"""Pictures and texts as vectors of one space, by any CLIP or SigLIP of transformers.

Needs the extra ``clip``: ``pip install tunemv3d-eval[clip]``. Pictures go through the folder's own processor, in
transformers' PIL form, so that a score does not depend on whether torchvision is installed.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from tunemv3d_core.console import quiet
from tunemv3d_core.errors import ComponentError, TuneMV3DError
from tunemv3d_core.io.json_files import read_json
from tunemv3d_core.plugins.assets import find_asset

KNOWN = ("clip", "siglip", "siglip2")
"""Values of ``model_type`` in a model's config."""
_PREPROCESSING = ("preprocessor_config.json", "processor_config.json")
_AT_ONCE = 256


class Scorer:
    """A CLIP or SigLIP that judges, in float32.

    Args:
        name: as it was asked for; reports and figures name it so.
        model: a ``CLIPModel``, ``SiglipModel`` or ``Siglip2Model``.
        tokenizer, processor: of its texts and of its pictures.

    Attributes:
        name: as above.
        identity: the name and a sha256 of weights, preprocessing and vocabulary.
        logit_scale: inverse temperature of its softmax or sigmoid.
    """

    def __init__(self, name: str, model: Any, tokenizer: Any, processor: Any) -> None:
        self.name, self._model, self._tokenizer, self._processor = name, model, tokenizer, processor
        self.logit_scale = math.exp(float(model.logit_scale))
        self.identity = f"{name} sha256:{_digest(model, tokenizer, processor)}"

    @torch.no_grad()
    def images(self, images: Tensor) -> Tensor:
        """Encode pictures ``n 3 H W`` in [-1, 1] as unit vectors ``n d``, on the model's device."""
        return torch.cat([self._pictures(images[k : k + _AT_ONCE]) for k in range(0, len(images), _AT_ONCE)])

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Encode m texts as unit vectors ``m d``, on the model's device.

        A CLIP reads a text up to its end mark. A SigLIP was trained on lower case, padded to full length and unmasked.
        """
        config = self._model.config
        length = config.text_config.max_position_embeddings
        if config.model_type == "clip":
            tokens = self._tokenizer(list(texts), padding=True, truncation=True, max_length=length, return_tensors="pt")
            given = {"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask}
        else:
            lower = [text.lower() for text in texts]
            options = {"padding": "max_length", "truncation": True, "max_length": length, "return_tensors": "pt"}
            given = {"input_ids": self._tokenizer(lower, **options).input_ids}
        device = self._model.device
        found = self._model.get_text_features(**{name: value.to(device) for name, value in given.items()})
        return _unit(found)

    def shares_text_encoder(self, module: nn.Module) -> bool:
        """Return whether a module holds this model's text encoder: its token embedding, to float16's precision.

        A model that was conditioned on the same encoder pleases this judge more than others.
        """
        own = self._model.text_model.get_input_embeddings().weight
        tables = (child.weight for child in module.modules() if isinstance(child, nn.Embedding))
        return any(
            table.shape == own.shape and torch.equal(table.detach().cpu().half(), own.detach().cpu().half())
            for table in tables
        )

    def _pictures(self, images: Tensor) -> Tensor:
        pixels = ((images.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        given = self._processor(images=[Image.fromarray(each) for each in pixels], return_tensors="pt")
        device = self._model.device
        return _unit(self._model.get_image_features(**{name: value.to(device) for name, value in given.items()}))


@lru_cache(maxsize=8)
def load_clip(name: str, device: str | torch.device = "cpu") -> Scorer:
    """Load a model once per process and device.

    Args:
        name: the name of an asset such as "clip-mini", a folder, or a hub id OWNER/NAME.
        device: where it computes.

    Raises:
        ComponentError: no such model, not a CLIP or SigLIP, or one whose preprocessing is not known.
    """
    place = find_clip(name)
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    try:
        with quiet("transformers"):
            model, info = AutoModel.from_pretrained(place, dtype=torch.float32, output_loading_info=True)
            kind = model.config.model_type
            if kind not in KNOWN:
                raise ValueError(f"it is a '{kind}', whose space of pictures and texts is not known")
            if missing := sorted(info["missing_keys"]):
                raise ValueError(f"its weights lack {missing[0]} ({len(missing)} in all)")
            model.to(device).eval().requires_grad_(False)
            tokenizer = AutoTokenizer.from_pretrained(place)
            scorer = Scorer(name, model, tokenizer, _processor(AutoImageProcessor, place))
            _try_out(scorer)
    except Exception as error:  # transformers raises whatever a foreign folder provokes
        reason = str(error).strip().partition("\n")[0]
        raise ComponentError(
            f"CLIP '{name}': cannot judge pictures: {reason}; give a folder or hub id of a CLIP or SigLIP with its "
            "tokenizer and preprocessor_config.json"
        ) from error
    return scorer


class JudgesByClips:
    """A metric that judges by CLIPs. They are loaded when their identities or their verdicts are asked for.

    Args:
        clips: their names.

    Raises:
        ComponentError: as ``find_clip``.
    """

    def __init__(self, clips: Sequence[str]) -> None:
        self._clips = tuple(clips)
        for clip in clips:
            find_clip(clip)

    @property
    def identities(self) -> tuple[str, ...]:
        """Name and sha256 of each."""
        return tuple(load_clip(clip).identity for clip in self._clips)


def find_clip(name: str) -> str:
    """Return the folder of an asset or a path, or a hub id as it is, without loading anything.

    Raises:
        ComponentError: transformers is not installed.
        TuneMV3DError: no such asset or folder.
    """
    if find_spec("transformers") is None:
        raise ComponentError("judging by CLIP needs transformers: pip install 'tunemv3d-eval[clip]'")
    try:
        return str(find_asset(name))
    except TuneMV3DError:
        if "/" not in name or name.startswith(("/", ".", "~")):  # the hub would be asked for it
            raise
        return name


def _processor(auto: Any, place: str) -> Any:
    """Load the processor of pictures; transformers would make one up from defaults where a folder has none."""
    said = ""
    if Path(place).is_dir():
        files = [Path(place) / file for file in _PREPROCESSING if (Path(place) / file).is_file()]
        if not files:
            raise ValueError(f"its preprocessing is unknown: the folder has no {_PREPROCESSING[0]}")
        settings = read_json(files[0])
        said = settings.get("image_processor_type", settings.get("feature_extractor_type", ""))
    try:
        return auto.from_pretrained(place, backend="pil")
    except Exception as error:
        raise ValueError(f"its preprocessing is unknown: {said or error}") from error


def _try_out(scorer: Scorer) -> None:
    """Judge one picture: a processor that gives other sizes than the model takes says so here."""
    scores = scorer.images(torch.zeros(1, 3, 32, 32)).to("cpu") @ scorer.texts(["a chair"]).to("cpu").T
    if not torch.isfinite(scores).all():
        raise ValueError("its scores are not finite")


def _unit(found: Any) -> Tensor:
    """Normalise features: a tensor until transformers 4, an object that pools them from 5 on."""
    pooled: Tensor = found if isinstance(found, Tensor) else found.pooler_output
    return torch.nn.functional.normalize(pooled.float(), dim=-1)


def _digest(model: Any, tokenizer: Any, processor: Any) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    for settings in (processor.to_dict(), tokenizer.get_vocab()):
        digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    return digest.hexdigest()
