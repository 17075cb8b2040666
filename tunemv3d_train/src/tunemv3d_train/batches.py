"""From a draw to the tensors of a training step; every caption is encoded once."""

import torch
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.slots import Backbone, Dataset
from tunemv3d_core.types import Text
from tunemv3d_train.batch_sampler import BatchPlan
from tunemv3d_train.latents import LatentCache, to_device
from tunemv3d_train.streaming import StreamedLatents

TEXT_BYTES = 2 * 2**30
"""Encoded captions are kept up to this size; beyond it the oldest is dropped."""


class TextCache:
    """Encoded captions, each encoded once as long as they fit.

    Args:
        backbone: its ``encode_text``.
    """

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone
        self._known: dict[str, Text] = {}

    def gather(self, captions: list[str]) -> Text:
        """One prompt an object."""
        texts = []
        for caption in captions:
            if caption not in self._known:
                with torch.no_grad():
                    text = self._backbone.encode_text([caption])
                if len(self._known) * text.tokens.nbytes > TEXT_BYTES:
                    del self._known[next(iter(self._known))]
                self._known[caption] = text
            texts.append(self._known[caption])
        return Text.cat(texts)


class Batches:
    """Makes ``TrainingStep.forward``'s arguments.

    Args:
        dataset: the pictures.
        latents: of the dataset.
        texts: of its captions.
        device: where the tensors go.
    """

    def __init__(
        self, dataset: Dataset, latents: LatentCache | StreamedLatents, texts: TextCache, device: torch.device
    ) -> None:
        self._dataset, self._latents, self._texts, self._device = dataset, latents, texts, device

    def __call__(self, plan: BatchPlan) -> dict[str, Tensor]:
        """The tensors of one draw, on the device; absent optional ones are left out."""
        latents, alpha = self._latents.shown(plan)
        cameras = self.cameras(plan.objects, plan.views)
        generator = torch.Generator().manual_seed(plan.seed)
        noise = torch.randn(*plan.t.shape, *latents.shape[2:], generator=generator)
        text = self._texts.gather(plan.captions)
        moved = {"noise": noise, "t": plan.t, "is_clean": plan.is_clean, "novel_pixels": plan.novel_pixels}
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
