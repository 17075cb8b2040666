"""Reading ahead: what the coming draws show is read by threads while a step runs, and nothing is kept."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import torch
from torch import Tensor

from tunemv3d_core.console import messages
from tunemv3d_core.latents import encode_views
from tunemv3d_core.slots import Backbone, Streams
from tunemv3d_train.batch_sampler import BatchPlan, BatchSampler, Seen
from tunemv3d_train.latents import to_device

FAR = 512
"""Objects by which a shard is expected before it is needed."""


class StreamedLatents:
    """Latents and alpha of what is asked for: the dataset's own where they are of this image encoder, else encoded anew
    at every visit.

    Args:
        dataset: the pictures.
        backbone: its ``encode_images``.
        device: where the model is.
    """

    def __init__(self, dataset: Streams, backbone: Backbone, device: torch.device) -> None:
        self._dataset, self._backbone, self.device = dataset, backbone, device
        kept = dataset.latent_shape(backbone.latent_key())
        self._kept = kept is not None
        self.shape = kept or self._encoded_shape()

    def read(self, objects: list[int], views: list[list[int]]) -> Seen:
        """What can be had without the device, in any thread."""
        asked = zip(objects, views, strict=True)
        if not self._kept:
            return [self._dataset.views(index, cameras) for index, cameras in asked]
        each = [self._dataset.latents(index, cameras) for index, cameras in asked]
        return torch.stack([latents for latents, _ in each]), torch.stack([alpha for _, alpha in each])

    def shown(self, plan: BatchPlan) -> tuple[Tensor, Tensor]:
        """Latents ``b n c h w`` and alpha ``b n h w`` of a draw, on the device."""
        return self._place(self.read(plan.objects, plan.views) if plan.seen is None else plan.seen)

    def gather(self, objects: list[int], views: list[list[int]]) -> tuple[Tensor, Tensor]:
        """Latents ``b n c h w`` and alpha ``b n h w`` on the device."""
        return self._place(self.read(objects, views))

    def _place(self, seen: Seen) -> tuple[Tensor, Tensor]:
        if isinstance(seen, tuple):
            return to_device(seen[0], self.device), to_device(seen[1], self.device)
        each = [encode_views(self._backbone, views, self.device) for views in seen]
        alpha = torch.stack([alpha for _, alpha in each])
        return torch.stack([latents for latents, _ in each]), to_device(alpha, self.device)

    @torch.no_grad()
    def _encoded_shape(self) -> tuple[int, int, int]:
        messages.print(
            "data: the shards hold no latents of this image encoder, so every picture is encoded at every visit; "
            "tunemv3d data pack --latents SPEC packs them too",
            style="yellow",
        )
        white = torch.ones(1, 1, 3, *self._dataset.picture_size(), device=self.device)
        c, h, w = self._backbone.encode_images(white).shape[2:]
        return c, h, w


class ReadAhead:
    """Draws with what they show, read by threads before they are asked for. How many threads changes nothing else.

    Args:
        sampler: draws.
        latents: read.
        expect: told of every object ``FAR`` objects before it is drawn.
        stop: no draw is made from this step on.
        workers: threads.
    """

    def __init__(
        self, sampler: BatchSampler, latents: StreamedLatents, expect: Callable[[int], None], stop: int, workers: int
    ) -> None:
        self._sampler, self._latents, self._expect, self._stop = sampler, latents, expect, stop
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="reading")
        self._coming: dict[int, Future[BatchPlan]] = {}
        self._depth = workers + 1

    def plan(self, step: int) -> BatchPlan:
        """The batch of one (micro) step, and a start of those after it.

        Raises:
            DatasetError: what this step needs cannot be read.
        """
        for later in range(step, min(step + self._depth, max(self._stop, step + 1))):
            if later not in self._coming:
                self._coming[later] = self._pool.submit(self._read, later)
        return self._coming.pop(step).result()

    def close(self) -> None:
        """Read no further."""
        self._pool.shutdown(cancel_futures=True)

    def _read(self, step: int) -> BatchPlan:
        for index in self._sampler.objects(step + FAR // self._sampler.batch):
            self._expect(index)
        plan = self._sampler.plan(step)
        return replace(plan, seen=self._latents.read(plan.objects, plan.views))
