"""From a draw to the tensors of a training step: latents and texts are computed once and kept."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.slots import Backbone, Dataset
from tunemv3d_core.types import Text
from tunemv3d_train.sampling import Draw

DEVICE_BYTES = 4 * 2**30
"""Latents up to this size stay on the device; more than that in the host's memory."""

ENCODED_AT_ONCE = 16


class LatentCache:
    """Latents and alpha of every view of a dataset, encoded at the first visit.

    Args:
        dataset: the pictures.
        backbone: its ``encode_images``.
        device: where the model is.
    """

    def __init__(self, dataset: Dataset, backbone: Backbone, device: torch.device) -> None:
        self._dataset, self._backbone, self.device = dataset, backbone, device
        counts = [len(dataset.record(index).files) for index in range(len(dataset))]
        self._first = [sum(counts[:index]) for index in range(len(counts))]
        self._known = [set[int]() for _ in counts]
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

    def gather(self, objects: list[int], views: list[list[int]]) -> tuple[Tensor, Tensor]:
        """Latents ``b n c h w`` and alpha ``b n h w`` (averaged down to latent cells) on the device."""
        for index, cameras in zip(objects, views, strict=True):
            self._ensure(index, cameras)
        rows = torch.tensor([[self._first[i] + v for v in c] for i, c in zip(objects, views, strict=True)])
        rows = to_device(rows, self._latents.device)
        return to_device(self._latents[rows], self.device), to_device(self._alpha[rows], self.device)

    def fill(self, objects: Iterable[int]) -> None:
        """Encode every view of these objects now."""
        for index in objects:
            self._ensure(index, list(range(len(self._dataset.record(index).files))))

    def _ensure(self, index: int, cameras: list[int]) -> None:
        missing = [camera for camera in cameras if camera not in self._known[index]]
        for start in range(0, len(missing), ENCODED_AT_ONCE):
            chunk = missing[start : start + ENCODED_AT_ONCE]
            latents, alpha = self._encode(index, chunk)
            rows = [self._first[index] + camera for camera in chunk]
            self._latents[rows] = latents.to(self._latents.device)
            self._alpha[rows] = alpha.to(self._alpha.device)
        self._known[index].update(missing)

    @torch.no_grad()
    def _encode(self, index: int, cameras: list[int]) -> tuple[Tensor, Tensor]:
        views = self._dataset.views(index, cameras)
        latents = self._backbone.encode_images(views.images.to(self.device))[0].float()
        alpha = adaptive_avg_pool2d(views.alpha, (latents.shape[-2], latents.shape[-1]))[0]
        return latents, alpha


class TextCache:
    """Encoded captions, each encoded once.

    Args:
        backbone: its ``encode_text``.
    """

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone
        self._known: dict[str, Text] = {}

    def gather(self, captions: list[str]) -> Text:
        """One prompt an object."""
        for caption in captions:
            if caption not in self._known:
                with torch.no_grad():
                    self._known[caption] = self._backbone.encode_text([caption])
        return Text.cat([self._known[caption] for caption in captions])


class Batches:
    """Makes ``TrainingStep.forward``'s arguments.

    Args:
        dataset: the pictures.
        latents: of the dataset.
        texts: of its captions.
        device: where the tensors go.
    """

    def __init__(self, dataset: Dataset, latents: LatentCache, texts: TextCache, device: torch.device) -> None:
        self._dataset, self._latents, self._texts, self._device = dataset, latents, texts, device

    def __call__(self, draw: Draw) -> dict[str, Tensor]:
        """The tensors of one draw, on the device; absent optional ones are left out."""
        latents, alpha = self._latents.gather(draw.objects, draw.views)
        cameras = self.cameras(draw.objects, draw.views)
        generator = torch.Generator().manual_seed(draw.seed)
        noise = torch.randn(*draw.t.shape, *latents.shape[2:], generator=generator)
        text = self._texts.gather(draw.captions)
        moved = {"noise": noise, "t": draw.t, "clean": draw.clean, "novel_pixels": draw.novel_pixels}
        tensors = {
            "latents": latents,
            "alpha": alpha,
            **{name: None if value is None else to_device(value, self._device) for name, value in moved.items()},
            "poses": cameras.camera_to_world,
            "intrinsics": cameras.intrinsics,
            **{"tokens": text.tokens, "pooled": text.pooled, "mask": text.mask},
        }
        return {name: tensor for name, tensor in tensors.items() if tensor is not None}

    def cameras(self, objects: list[int], views: list[list[int]]) -> Cameras:
        """Cameras ``b n`` on the device."""
        each = [self._dataset.record(index).cameras[chosen] for index, chosen in zip(objects, views, strict=True)]
        pose = torch.stack([c.camera_to_world for c in each])
        intrinsics = torch.stack([c.intrinsics for c in each])
        return Cameras(to_device(pose, self._device), to_device(intrinsics, self._device))


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Move without making the host wait: through pinned memory where the target is a GPU."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
