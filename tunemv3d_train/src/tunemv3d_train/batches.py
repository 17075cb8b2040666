"""Tensors of a training step, made from its plan; every caption is encoded once."""

from typing import NotRequired, Protocol, TypedDict

import torch
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.slots import Backbone, Dataset
from tunemv3d_core.types import Text
from tunemv3d_train.batch_sampler import BatchPlan
from tunemv3d_train.latents import to_device
from tunemv3d_train.maps import Maps

TEXT_BYTES = 2 * 2**30
"""Encoded captions are kept up to this size; beyond it the oldest is dropped."""


class Batch(TypedDict):
    """The tensors of a training step, all on the device.

    Attributes:
        latents: ``b (n + m) c h w``, clean; the n input views first.
        alpha: ``b (n + m) h w`` in [0, 1], averaged down to latent cells.
        noise: ``b n c h w``.
        t: ``b n``.
        is_clean: ``b n`` boolean: views given without noise.
        poses: ``b (n + m) 4 4``, camera to world.
        intrinsics: ``b (n + m) 4``.
        tokens: ``b l d``, with ``pooled`` and ``mask`` a ``Text``.
        pooled: ``b d'``.
        mask: ``b l``.
        maps: ``b (n + m) c h w``, those that losses need, side by side.
        novel_pixels: ``b m r``, flat indices of the novel views' cells to render; without it they are rendered whole.
    """

    latents: Tensor
    alpha: Tensor
    noise: Tensor
    t: Tensor
    is_clean: Tensor
    poses: Tensor
    intrinsics: Tensor
    tokens: Tensor
    pooled: NotRequired[Tensor]
    mask: NotRequired[Tensor]
    novel_pixels: NotRequired[Tensor]
    maps: NotRequired[Tensor]


class LatentSource(Protocol):
    """Source of the pictures' latents: a cache of all of them, or a stream."""

    device: torch.device

    @property
    def shape(self) -> tuple[int, int, int]:
        """(c, h, w) of a view's latent."""
        ...

    def gather(self, plan: BatchPlan) -> tuple[Tensor, Tensor]:
        """Latents ``b (n + m) c h w`` and alpha ``b (n + m) h w`` of a plan's views, on the device."""
        ...


class TextCache:
    """Encoded captions, each encoded once as long as they fit.

    Args:
        backbone: its ``encode_text``.
    """

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone
        self._known: dict[str, Text] = {}

    def gather(self, captions: list[str]) -> Text:
        """Encode one prompt per object."""
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
    """Makes batches of plans, for training and for held-out figures alike.

    Args:
        dataset: the pictures.
        latents: of the dataset.
        texts: of its captions.
        maps: that losses need; None where none does.
    """

    def __init__(self, dataset: Dataset, latents: LatentSource, texts: TextCache, maps: Maps | None = None) -> None:
        self._dataset, self.latents, self._texts, self._maps = dataset, latents, texts, maps

    def __call__(self, plan: BatchPlan, noise: Tensor | None = None) -> Batch:
        """Return the tensors of a plan; ``noise`` (``b n c h w``) in place of that of the plan's seed."""
        latents, alpha = self.latents.gather(plan)
        if noise is None:
            generator = torch.Generator().manual_seed(plan.seed)
            noise = torch.randn(*plan.t.shape, *latents.shape[2:], generator=generator)
        poses, intrinsics = self._cameras(plan)
        text = self._texts.gather(plan.captions)
        batch = Batch(
            latents=latents,
            alpha=alpha,
            noise=self._placed(noise),
            t=self._placed(plan.t),
            is_clean=self._placed(plan.is_clean),
            poses=self._placed(poses),
            intrinsics=self._placed(intrinsics),
            tokens=text.tokens,
        )
        if text.pooled is not None:
            batch["pooled"] = text.pooled
        if text.mask is not None:
            batch["mask"] = text.mask
        if plan.novel_pixels is not None:
            batch["novel_pixels"] = self._placed(plan.novel_pixels)
        if self._maps is not None:
            batch["maps"] = self._maps.gather(plan)
        return batch

    def _placed(self, tensor: Tensor) -> Tensor:
        return to_device(tensor, self.latents.device)

    def _cameras(self, plan: BatchPlan) -> tuple[Tensor, Tensor]:
        """Poses ``b (n + m) 4 4`` and intrinsics ``b (n + m) 4`` of a plan's views."""
        chosen = zip(plan.objects, plan.views, strict=True)
        cameras = Cameras.cat([self._dataset.record(index).cameras[views][None] for index, views in chosen])
        return cameras.camera_to_world, cameras.intrinsics
