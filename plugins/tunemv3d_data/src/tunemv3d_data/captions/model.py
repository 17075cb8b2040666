"""Captions by an image-captioning model of transformers: BLIP, GIT, ViT with GPT-2 and their like.

Needs the extra ``captions``: ``pip install tunemv3d-data[captions]``. Pictures go through transformers' PIL image
processors, so that a caption does not depend on whether torchvision is installed.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from tunemv3d_core.errors import DatasetError, TuneMV3DError
from tunemv3d_core.io.json_files import read_json, write_json
from tunemv3d_core.io.pictures import open_picture
from tunemv3d_core.io.posed_images import PosedImages, read_manifest, read_object

_MOST_TOKENS = 40


@dataclass(frozen=True)
class Captioned:
    """Outcome of one object; ``note`` says why it was refused."""

    id: str
    status: Literal["captioned", "kept", "refused"]
    note: str = ""


class Captioner:
    """A captioning model. The same picture always gets the same caption: the likeliest word at every step.

    Args:
        name: a folder or a hub id.
        device: where it computes.

    Raises:
        TuneMV3DError: transformers is not installed, or this is no model that captions a picture on its own.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        try:
            from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer
        except ImportError:
            raise TuneMV3DError("captions by a model need transformers: pip install tunemv3d-data[captions]") from None
        if not Path(name).exists() and "/" not in name:  # the hub would be asked for it six times over
            raise TuneMV3DError(f"--model {name}: no such folder, and no hub id, which is OWNER/NAME")
        self.name, self.device = name, device
        try:
            self.processor = AutoImageProcessor.from_pretrained(name, backend="pil")
            self.tokenizer = AutoTokenizer.from_pretrained(name)
            self.model = AutoModelForImageTextToText.from_pretrained(name).to(device).eval()
            known, said = len(self.tokenizer), self.model.config.get_text_config(decoder=True).vocab_size
            if known < said / 2:
                raise ValueError(f"the tokenizer has {known} of the model's {said} words; are its files missing?")
            # A model that wants more than a picture says so here, before anything is written.
            self([Image.new("RGB", (64, 64), "white")])
        except Exception as error:  # transformers raises whatever a foreign folder provokes
            reason = f"{type(error).__name__}: {error}".strip().partition("\n")[0]
            raise TuneMV3DError(
                f"--model {name}: cannot caption pictures ({reason}); give a folder or hub id of a captioning model "
                "with its image processor and tokenizer, such as Salesforce/blip-image-captioning-base, "
                "microsoft/git-base-coco or nlpconnect/vit-gpt2-image-captioning"
            ) from None

    def __call__(self, pictures: Sequence[Image.Image]) -> list[str]:
        """Write one caption per picture.

        Raises:
            TuneMV3DError: too many pictures for the device.
        """
        pixels = self.processor(images=list(pictures), return_tensors="pt").pixel_values
        # The sampling that a checkpoint may carry is switched off.
        options = {"max_new_tokens": _MOST_TOKENS, "do_sample": False, "num_beams": 1}
        try:
            with torch.inference_mode():
                pixels = pixels.to(self.device, self.model.dtype)
                tokens = self.model.generate(pixel_values=pixels, **options)
        except torch.OutOfMemoryError:
            raise TuneMV3DError(f"not enough memory for {len(pictures)} pictures at a time; lower --batch") from None
        return [" ".join(text.split()) for text in self.tokenizer.batch_decode(tokens, skip_special_tokens=True)]


def caption_dataset(
    folder: Path,
    captioner: Callable[[Sequence[Image.Image]], list[str]],
    name: str,
    views: int = 4,
    batch: int = 8,
    replace: bool = False,
    done: Callable[[], object] = lambda: None,
) -> list[Captioned]:
    """Put a model's captions before those that an object has; training reads the first one.

    Objects that this model has captioned are left alone, so an interrupted run goes on where it was.

    Args:
        folder: the dataset.
        captioner: pictures on white to captions.
        name: the model's, written as ``caption_model``.
        views: pictures per object, evenly from its cameras; equal captions are written once.
        batch: pictures a call; the last call may have fewer.
        replace: drop the captions that an object had.
        done: called after every object.

    Raises:
        DatasetError: not a dataset, or it cannot be written.
    """
    results: dict[str, Captioned] = {}
    waiting: list[tuple[str, list[Image.Image]]] = []

    def finish() -> None:
        for id_, captions in _captioned(captioner, waiting, batch):
            results[id_] = _write(folder / "objects" / id_, id_, captions, name, replace)
            done()
        waiting.clear()

    for id_ in (ids := list(read_manifest(folder))):
        pictures = _waiting(folder / "objects" / id_, id_, views, name)
        if isinstance(pictures, Captioned):
            results[id_] = pictures
            done()
        else:
            waiting.append((id_, pictures))
        if sum(len(pictures) for _, pictures in waiting) >= batch:
            finish()
    finish()
    return [results[id_] for id_ in ids]


def _captioned(
    captioner: Callable[[Sequence[Image.Image]], list[str]],
    waiting: Sequence[tuple[str, list[Image.Image]]],
    batch: int,
) -> Iterator[tuple[str, list[str]]]:
    """Captions of several objects, their pictures together in batches."""
    pictures = [picture for _, own in waiting for picture in own]
    captions = [text for at in range(0, len(pictures), batch) for text in captioner(pictures[at : at + batch])]
    for id_, own in waiting:
        yield id_, [captions.pop(0) for _ in own]


def _waiting(folder: Path, id_: str, views: int, model: str) -> list[Image.Image] | Captioned:
    """Pictures of an object that waits for its captions, or why it does not."""
    try:
        record = read_object(folder)
        if record.extra.get("caption_model") == model:
            return Captioned(id_, "kept")
        return _pictures(folder, record, views)
    except TuneMV3DError as error:
        return Captioned(id_, "refused", str(error))


def _pictures(folder: Path, record: PosedImages, views: int) -> list[Image.Image]:
    """Evenly chosen pictures of one object on white."""
    chosen = np.unique(np.linspace(0, record.views, min(views, record.views), endpoint=False).astype(int))
    found = []
    for index in chosen:
        path = folder / record.files[index]
        try:
            with open_picture(path) as image:
                rgba = image.convert("RGBA")
        except OSError as error:
            raise DatasetError(f"{path}: the picture cannot be read: {error}") from None
        white = Image.new("RGBA", rgba.size, "white")
        found.append(Image.alpha_composite(white, rgba).convert("RGB"))
    return found


def _write(folder: Path, id_: str, captions: list[str], name: str, replace: bool) -> Captioned:
    """Edit ``transforms.json`` as it is, so that keys unknown here stay."""
    said = list(dict.fromkeys(caption for caption in captions if caption))
    if not said:
        return Captioned(id_, "refused", "the model says nothing about its pictures")
    path = folder / "transforms.json"
    content: dict[str, Any] = read_json(path)
    before = [] if replace else content.get("captions", [])
    frames = content.pop("frames")
    content["captions"] = list(dict.fromkeys([*said, *before]))
    content["caption_model"] = name
    try:
        write_json(path, {**content, "frames": frames})
    except OSError as error:
        raise DatasetError(f"{path}: cannot be written: {error}; run it again to go on") from None
    return Captioned(id_, "captioned")
