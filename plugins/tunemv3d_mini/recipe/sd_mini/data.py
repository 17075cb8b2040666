"""Single views with captions, in memory: the whole training set fits on one device."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tunemv3d_core.io.caption_words import words_in
from tunemv3d_core.io.posed_images import PosedImages, read_manifest, read_object


@dataclass(frozen=True)
class Views:
    """Pictures of many objects.

    Attributes:
        images: ``n 4 H W``, uint8, RGBA with straight alpha.
        names: n object ids.
        captions: the distinct captions.
        caption_of: ``n k``, for every picture k places in ``captions``; short lists repeat.
        cumulative: ``n``, running sum of the pictures' shares of the draws: every folder gets an equal part of them.
        folders: for every folder: name, objects, pictures.
        credits: (object id, licence, creator) of every object.
        words: of how many objects the captions have each word; variants are no objects of their own.
    """

    images: Tensor
    names: tuple[str, ...]
    captions: tuple[str, ...]
    caption_of: Tensor
    cumulative: Tensor
    folders: tuple[tuple[str, int, int], ...]
    credits: tuple[tuple[str, str, str], ...]
    words: dict[str, int]

    def to(self, device: torch.device) -> "Views":
        """Move the tensors to ``device``."""
        moved = {name: getattr(self, name).to(device) for name in ("images", "caption_of", "cumulative")}
        return Views(**{**self.__dict__, **moved})

    def draw(self, batch: int) -> Tensor:
        """Draw ``batch`` random places by share; runs on the device without waiting for it."""
        uniform = torch.rand(batch, device=self.cumulative.device, dtype=self.cumulative.dtype)
        return torch.searchsorted(self.cumulative, uniform).clamp(max=len(self.names) - 1)


def load_views(folders: Sequence[Path], workers: int = 16) -> tuple[Views, Views]:
    """Read dataset folders.

    Args:
        folders: folders with a ``dataset.json``.
        workers: threads that decode pictures.

    Returns:
        The training views and the held-out ones. An object that one folder holds out is held out of all, and its
        variants are left out.

    Raises:
        DatasetError: a folder is not a dataset or a file in it is broken.
    """
    manifests = [read_manifest(folder) for folder in folders]
    held = {id_ for manifest in manifests for id_, split in manifest.items() if split != "train"}
    with ThreadPoolExecutor(workers) as pool:
        parts = [
            list(pool.map(_read, [(folder, id_) for id_ in manifest]))
            for folder, manifest in zip(folders, manifests, strict=True)
        ]
    train = [[part for part in objects if not _names(part[0]) & held] for objects in parts]
    rest = [[part for part in objects if part[0].id in held] for objects in parts]
    return _join(folders, train), _join(folders, rest)


def composite(images: Tensor) -> Tensor:
    """Composite RGBA uint8 ``n 4 H W`` over white: ``n 3 H W`` in [0, 1]."""
    rgba = images.float() / 255
    return rgba[:, :3] * rgba[:, 3:] + (1 - rgba[:, 3:])


def _names(record: PosedImages) -> set[str]:
    """The object's id and that of the object it is a variant of."""
    return {record.id, str(record.extra.get("base", record.id))}


def _read(place: tuple[Path, str]) -> tuple[PosedImages, np.ndarray]:
    folder = place[0] / "objects" / place[1]
    record = read_object(folder)
    pictures = []
    for name in record.files:
        with Image.open(folder / name) as picture:
            pictures.append(np.asarray(picture.convert("RGBA")))
    return record, np.stack(pictures)


def _join(folders: Sequence[Path], parts: list[list[tuple[PosedImages, np.ndarray]]]) -> Views:
    records = [(record, pictures) for objects in parts for record, pictures in objects]
    captions = tuple(sorted({caption for record, _ in records for caption in record.captions}))
    place = {caption: k for k, caption in enumerate(captions)}
    width = max((len(record.captions) for record, _ in records), default=1)
    rows, shares, names = [], [], []
    for objects in parts:
        total = sum(len(pictures) for _, pictures in objects)
        for record, pictures in objects:
            row = [place[record.captions[k % len(record.captions)]] for k in range(width)]
            rows += [row] * len(pictures)
            shares += [1 / total] * len(pictures)
            names += [record.id] * len(pictures)
    share = torch.tensor(shares, dtype=torch.float64)
    images = np.concatenate([p for _, p in records]) if records else np.zeros((0, 1, 1, 4), np.uint8)
    return Views(
        images=torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(),
        names=tuple(names),
        captions=captions,
        caption_of=torch.tensor(rows, dtype=torch.long).reshape(-1, width),
        cumulative=(share / share.sum()).cumsum(0).float(),
        folders=tuple((f.name, len(o), sum(len(p) for _, p in o)) for f, o in zip(folders, parts, strict=True)),
        credits=tuple(sorted({(record.id, record.licence, record.creator) for record, _ in records})),
        words=count_words([record for record, _ in records]),
    )


def count_words(records: Sequence[PosedImages]) -> dict[str, int]:
    """Count the objects that have each word in their captions, an object with all its variants as one."""
    told: dict[str, set[str]] = {}
    for record in records:
        told.setdefault(str(record.extra.get("base", record.id)), set()).update(words_in(record.captions))
    return dict(Counter(word for words in told.values() for word in words))
