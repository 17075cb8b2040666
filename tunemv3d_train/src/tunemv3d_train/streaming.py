"""Reading ahead: threads read the pictures of the coming batches while a step runs, and nothing is kept."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import torch
from torch import Tensor

from tunemv3d_core.console import messages
from tunemv3d_core.latents import encode_views
from tunemv3d_core.slots import Backbone, Streams
from tunemv3d_train.batch_sampler import BatchPlan, BatchSampler, Prefetched
from tunemv3d_train.latents import to_device

FAR = 512
"""Objects by which a shard is expected before it is needed."""


class StreamedLatents:
    """Latents and alpha that are read when they are asked for: the dataset's own where they are of this image encoder,
    else encoded anew at every visit.

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

    def read(self, plan: BatchPlan) -> Prefetched:
        """Read what needs no device, in any thread."""
        chosen = zip(plan.objects, plan.views, strict=True)
        if not self._kept:
            return [self._dataset.views(index, cameras) for index, cameras in chosen]
        each = [self._dataset.latents(index, cameras) for index, cameras in chosen]
        return torch.stack([latents for latents, _ in each]), torch.stack([alpha for _, alpha in each])

    def gather(self, plan: BatchPlan) -> tuple[Tensor, Tensor]:
        """Return a plan's latents ``b n c h w`` and alpha ``b n h w`` in latent cells, on the device."""
        pictures = self.read(plan) if plan.prefetched is None else plan.prefetched
        if isinstance(pictures, tuple):
            return to_device(pictures[0], self.device), to_device(pictures[1], self.device)
        each = [encode_views(self._backbone, views, self.device) for views in pictures]
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
    """Plans with their pictures, read by threads before they are asked for. How many threads changes nothing else.

    Args:
        sampler: makes the plans.
        latents: reads their pictures.
        expect: called with every object ``FAR`` objects before its batch.
        stop: nothing is read for this step and those after it.
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
        """Return the plan of one (micro) step, and begin to read those after it.

        Raises:
            DatasetError: what this step needs cannot be read.
        """
        for later in range(step, min(step + self._depth, max(self._stop, step + 1))):
            if later not in self._coming:
                self._coming[later] = self._pool.submit(self._read, later)
        return self._coming.pop(step).result()

    def draw_anew(self, attempt: int) -> None:
        """Forget what was read ahead, and draw anew (``BatchSampler.draw_anew``)."""
        for coming in self._coming.values():
            coming.cancel()
        self._coming.clear()
        self._sampler.draw_anew(attempt)

    def go_on(self, step: int, drawn: int) -> None:
        """Go on at a (micro) step, before the first plan (``BatchSampler.go_on``)."""
        self._sampler.go_on(step, drawn)

    def drawn(self, step: int) -> int:
        """Return how many batches were drawn before a (micro) step (``BatchSampler.drawn``)."""
        return self._sampler.drawn(step)

    def close(self) -> None:
        """Read no further."""
        self._pool.shutdown(cancel_futures=True)

    def _read(self, step: int) -> BatchPlan:
        for index in self._sampler.objects(step + FAR // self._sampler.batch):
            self._expect(index)
        plan = self._sampler.plan(step)
        return replace(plan, prefetched=self._latents.read(plan))
