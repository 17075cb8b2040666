"""The pictures' latents: encoded once, kept in memory, and on disk where the dataset asks for it."""

import hashlib
import json
import os
from collections.abc import Iterable
from itertools import accumulate
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.atomic import atomic_file, sweep
from tunemv3d_core.latents import ENCODED_AT_ONCE, encode_views
from tunemv3d_core.slots import Backbone, Dataset, KeepsLatents
from tunemv3d_train.batch_sampler import BatchPlan

DEVICE_BYTES = 4 * 2**30
"""Latents up to this size stay on the device; more than that in the host's memory."""


class LatentCache:
    """Latents and alpha of every view of a dataset, encoded at the first visit or read from where they are kept.

    Args:
        dataset: the pictures.
        backbone: its ``encode_images``.
        device: where the model is.
    """

    def __init__(self, dataset: Dataset, backbone: Backbone, device: torch.device) -> None:
        self._dataset, self._backbone, self.device = dataset, backbone, device
        counts = [dataset.record(index).views for index in range(len(dataset))]
        self._first = list(accumulate(counts, initial=0))
        self._known = [set[int]() for _ in counts]
        self._files = _files(dataset, backbone)
        latents, alpha = self._encode(0, [0])
        total = sum(counts)
        stored = device if total * (latents[0].nbytes + alpha[0].nbytes) <= DEVICE_BYTES else torch.device("cpu")
        self._latents = torch.zeros(total, *latents.shape[1:], device=stored)
        self._alpha = torch.zeros(total, *alpha.shape[1:], device=stored)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(c, h, w) of a view's latent."""
        c, h, w = self._latents.shape[1:]
        return c, h, w

    def gather(self, plan: BatchPlan) -> tuple[Tensor, Tensor]:
        """Return a plan's latents ``b n c h w`` and alpha ``b n h w`` in latent cells, on the device."""
        chosen = list(zip(plan.objects, plan.views, strict=True))
        for index, cameras in chosen:
            self._ensure(index, cameras)
        rows = torch.tensor([[self._first[index] + camera for camera in cameras] for index, cameras in chosen])
        rows = to_device(rows, self._latents.device)
        return to_device(self._latents[rows], self.device), to_device(self._alpha[rows], self.device)

    def fill(self, objects: Iterable[int]) -> None:
        """Encode every view of these objects now."""
        for index in objects:
            self._ensure(index, list(range(self._dataset.record(index).views)))

    def _ensure(self, index: int, cameras: list[int]) -> None:
        if self._files is not None and not self._known[index]:
            cameras = list(range(self._dataset.record(index).views))
            if (kept := self._files.read(index, (len(cameras), *self._latents.shape[1:]))) is not None:
                self._put(index, cameras, *kept)
                return
        missing = [camera for camera in cameras if camera not in self._known[index]]
        for start in range(0, len(missing), ENCODED_AT_ONCE):
            chunk = missing[start : start + ENCODED_AT_ONCE]
            self._put(index, chunk, *self._encode(index, chunk))
        if self._files is not None and missing:
            rows = slice(self._first[index], self._first[index] + len(cameras))
            self._files.write(index, self._latents[rows], self._alpha[rows])

    def _put(self, index: int, cameras: list[int], latents: Tensor, alpha: Tensor) -> None:
        rows = [self._first[index] + camera for camera in cameras]
        self._latents[rows] = latents.to(self._latents.device)
        self._alpha[rows] = alpha.to(self._alpha.device)
        self._known[index].update(cameras)

    def _encode(self, index: int, cameras: list[int]) -> tuple[Tensor, Tensor]:
        return encode_views(self._backbone, self._dataset.views(index, cameras), self.device)


class LatentFiles:
    """One safetensors file per object, in a folder named after the image encoder.

    A file is used only if the object's pictures and the stored numbers still have the hashes that it states; any other
    is written anew.

    Args:
        dataset: says where, and what its pictures' hashes are.
        key: of the image encoder.

    Raises:
        DatasetError: the folder cannot be written.
    """

    def __init__(self, dataset: KeepsLatents, key: str) -> None:
        assert dataset.latents_folder is not None
        self._dataset, self._folder = dataset, dataset.latents_folder / key[:16]
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / f"{os.getpid()}.part").touch()
            (self._folder / f"{os.getpid()}.part").unlink()
            sweep(self._folder)
        except OSError as error:
            raise DatasetError(_unwritable(self._folder, error)) from None

    def read(self, index: int, shape: tuple[int, ...]) -> tuple[Tensor, Tensor] | None:
        """Latents of ``shape`` (``n c h w``) and alpha ``n h w``, or None where nothing valid is kept."""
        path = self._path(index)
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                stated, latents, alpha = file.metadata(), file.get_tensor("latents"), file.get_tensor("alpha")
        except (OSError, SafetensorError):
            return None
        expected = {"pictures": self._dataset.digest(index), "numbers": _digest(latents, alpha)}
        return (latents, alpha) if stated == expected and latents.shape == shape else None

    def write(self, index: int, latents: Tensor, alpha: Tensor) -> None:
        """Keep one object's latents ``n c h w`` and alpha ``n h w``.

        Raises:
            DatasetError: the disk is full or not writable.
        """
        path = self._path(index)
        tensors = {"latents": latents.cpu().contiguous(), "alpha": alpha.cpu().contiguous()}
        stated = {"pictures": self._dataset.digest(index), "numbers": _digest(*tensors.values())}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(path, per_process=True) as beside:
                save_file(tensors, beside, metadata=stated)
        except (OSError, SafetensorError) as error:
            raise DatasetError(_unwritable(path, error)) from None

    def _path(self, index: int) -> Path:
        return self._folder / f"{self._dataset.record(index).id}.safetensors"


def _files(dataset: Dataset, backbone: Backbone) -> LatentFiles | None:
    if isinstance(dataset, KeepsLatents) and dataset.latents_folder is not None:
        return LatentFiles(dataset, backbone.latent_key())
    return None


def _digest(*tensors: Tensor) -> str:
    """sha256 over the tensors' shapes and bytes."""
    digest = hashlib.sha256(json.dumps([list(tensor.shape) for tensor in tensors]).encode())
    for tensor in tensors:
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _unwritable(path: Path, error: Exception) -> str:
    return f"data.cache_latents: {path} cannot be written: {error}; make room, or set data.cache_latents to false"


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Move without making the host wait: through pinned memory where the target is a GPU."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
