"""Batches of a training run, drawn from the seed and their number among those of all processes alone.

A run that is interrupted and resumed therefore draws exactly what an uninterrupted one would have drawn, and several
processes learn from what one would learn from that accumulates as many batches.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from tunemv3d_core.config.run_spec import ViewsSpec
from tunemv3d_core.slots import Dataset, Streams
from tunemv3d_core.types import Views
from tunemv3d_core.view_selection import spread_views
from tunemv3d_train.dataset_checks import check_counts

SPREADS = 2**16
"""Objects whose evenly spread views are kept: they are chosen once, not at every visit."""

Prefetched = tuple[Tensor, Tensor] | list[Views]
"""A plan's latents ``b n c h w`` and alpha ``b n h w``, or its pictures yet to be encoded, one ``Views`` per object."""


@dataclass(frozen=True)
class BatchPlan:
    """Plan of one batch, as numbers only.

    Attributes:
        objects: b dataset indices.
        views: camera indices per object: n input cameras, then m novel ones.
        captions: one per object; empty where the text is dropped for classifier-free guidance.
        t: ``b n`` float, shared by an object's noisy views, 0 where clean.
        is_clean: ``b n`` boolean: views given without noise.
        novel_pixels: ``b m r`` int64, flat indices of latent cells; None renders the novel views whole.
        seed: of the step's noise and of whatever the field draws.
        prefetched: its pictures, where they were read ahead.
    """

    objects: list[int]
    views: list[list[int]]
    captions: list[str]
    t: Tensor
    is_clean: Tensor
    novel_pixels: Tensor | None
    seed: int
    prefetched: Prefetched | None = None


class BatchSampler:
    """Sampler of batches.

    Half of the draws give an object's views that are spread evenly around it (``spread_views``) as input, the others
    any of its views in random order; the novel views are always random ones of the rest.

    Args:
        dataset: the pictures.
        objects: dataset indices to draw from.
        counts: number of input and novel views, and how they are used.
        seed: seed of the run.
        batch: objects per batch.
        timesteps: length of the noise schedule; t is uniform over its steps.
        cells: latent cells of a view (h w).
        text_dropout: probability that an object's caption is dropped.
        rank: this process.
        world: number of processes.

    Raises:
        SpecError: no objects, or one with fewer views than a step needs; names it.
    """

    def __init__(
        self,
        dataset: Dataset,
        objects: list[int],
        counts: ViewsSpec,
        *,
        seed: int,
        batch: int,
        timesteps: int,
        cells: int,
        text_dropout: float = 0.0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self._dataset, self._objects, self._counts, self._seed, self.batch = dataset, objects, counts, seed, batch
        self._timesteps, self._cells, self._text_dropout = timesteps, cells, text_dropout
        self._rank, self._world = rank, world
        self._attempt: list[int] = []
        self._since, self._drawn = 0, 0
        check_counts(dataset, objects, counts)
        self._spread = lru_cache(maxsize=SPREADS)(self._spread_views)
        self._streamed = lru_cache(maxsize=2)(self._stream_order) if isinstance(dataset, Streams) else None

    def draw_anew(self, attempt: int) -> None:
        """Draw other views, noise and captions from now on: after a run went back for the ``attempt``-th time."""
        self._attempt = [attempt]

    def go_on(self, step: int, drawn: int) -> None:
        """Go on at a (micro) step after ``drawn`` batches, which may have been drawn by another number of processes."""
        self._since, self._drawn = step, drawn

    def drawn(self, step: int) -> int:
        """Return how many batches all processes together have drawn before a (micro) step."""
        return self._drawn + (step - self._since) * self._world

    def plan(self, step: int) -> BatchPlan:
        """Draw the batch of one (micro) step of this process."""
        rng = np.random.default_rng([self._seed, self._number(step), 0, *self._attempt])
        objects = self.objects(step)
        records = [self._dataset.record(index) for index in objects]
        t, is_clean = self._noise_levels(rng)
        return BatchPlan(
            objects=objects,
            views=[self._views(index, record.views, rng) for index, record in zip(objects, records, strict=True)],
            captions=[self._caption(record.captions, rng) for record in records],
            t=t,
            is_clean=is_clean,
            novel_pixels=self._novel_pixels(rng),
            seed=int(rng.integers(2**62)),
        )

    def objects(self, step: int) -> list[int]:
        """Return the objects of one (micro) step of this process."""
        if self._streamed is not None:
            return [self._streamed_object(step * self.batch + i) for i in range(self.batch)]
        return [self._object(self._number(step) * self.batch + i) for i in range(self.batch)]

    def _number(self, step: int) -> int:
        """Return which of all processes' batches is this one's at a (micro) step."""
        return self.drawn(step) + self._rank

    def _object(self, position: int) -> int:
        """Return the object at a position of the endless sequence of shuffled epochs, which all processes share."""
        epoch, place = divmod(position, len(self._objects))
        return self._objects[int(_shuffled(self._seed, epoch, len(self._objects))[place])]

    def _streamed_object(self, position: int) -> int:
        """Return the object at a position of this process's own endless sequence, in the dataset's order."""
        assert self._streamed is not None
        epoch, place = divmod(position, len(self._streamed(0)))
        return self._streamed(epoch)[place]

    def _stream_order(self, epoch: int) -> Sequence[int]:
        assert isinstance(self._dataset, Streams)
        return self._dataset.order(self._seed, epoch, self._rank, self._world)

    def _spread_views(self, index: int) -> list[int]:
        return spread_views(self._dataset.record(index).cameras, self._counts.inputs)

    def _views(self, index: int, available: int, rng: np.random.Generator) -> list[int]:
        n, m = self._counts.inputs, self._counts.novel
        if rng.random() < 0.5:
            inputs = self._spread(index)
        else:
            inputs = rng.permutation(available)[:n].tolist()
        rest = np.setdiff1d(np.arange(available), inputs)
        return [*inputs, *rng.permutation(rest)[:m].tolist()]

    def _caption(self, captions: tuple[str, ...], rng: np.random.Generator) -> str:
        caption = captions[int(rng.integers(len(captions)))]
        return "" if rng.random() < self._text_dropout else caption

    def _noise_levels(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        b, n = self.batch, self._counts.inputs
        is_clean = np.zeros((b, n), dtype=bool)
        for views in is_clean:
            count = int(rng.integers(1, 3))
            if rng.random() < self._counts.clean_probability:
                views[rng.permutation(n)[: min(count, n - 1)]] = True
        t = rng.integers(self._timesteps, size=(b, 1)).astype(np.float32).repeat(n, axis=1)
        return torch.from_numpy(np.where(is_clean, np.float32(0), t)), torch.from_numpy(is_clean)

    def _novel_pixels(self, rng: np.random.Generator) -> Tensor | None:
        if self._counts.novel == 0 or self._counts.novel_pixels == 1:
            return None
        r = max(1, round(self._counts.novel_pixels * self._cells))
        shuffled = rng.random((self.batch, self._counts.novel, self._cells), dtype=np.float32).argsort(axis=-1)
        return torch.from_numpy(shuffled[..., :r].astype(np.int64))


@lru_cache(maxsize=2)
def _shuffled(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(count)
