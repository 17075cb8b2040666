"""What a training step sees, drawn so that it depends on the seed, the step and the process alone.

A run that is interrupted and resumed therefore draws exactly what an uninterrupted one would have drawn.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from tunemv3d_core.config.run_spec import ViewsSpec
from tunemv3d_core.errors import SpecError
from tunemv3d_core.io.posed_images import Listed
from tunemv3d_core.slots import Dataset, Streams
from tunemv3d_core.types import Views

RING = 8
"""An object's first cameras stand evenly around it; the later ones anywhere on the sphere."""

Seen = tuple[Tensor, Tensor] | list[Views]
"""What a draw shows: latents ``b n c h w`` and alpha ``b n h w``, or pictures still to be encoded, an object each."""


@dataclass(frozen=True)
class BatchPlan:
    """One batch, as numbers only.

    Attributes:
        objects: b dataset indices.
        views: per object its n input cameras, then its m novel ones.
        captions: one an object; empty where the text is dropped for classifier-free guidance.
        t: ``b n`` float, shared by an object's noisy views, 0 where clean.
        is_clean: ``b n`` boolean: views given without noise.
        novel_pixels: ``b m r`` int64, flat indices of latent cells; None renders the novel views whole.
        seed: of the step's noise and of whatever the field draws.
        seen: what it shows, where it was read ahead.
    """

    objects: list[int]
    views: list[list[int]]
    captions: list[str]
    t: Tensor
    is_clean: Tensor
    novel_pixels: Tensor | None
    seed: int
    seen: Seen | None = None


class BatchSampler:
    """Draws batches.

    Args:
        dataset: the pictures.
        objects: dataset indices to draw from.
        counts: how many views, and how they are used.
        seed: of the run.
        batch: objects in a batch.
        timesteps: length of the noise schedule; t is uniform over its steps.
        cells: latent cells of a view (h w).
        text_dropout: probability that an object's caption is dropped.
        rank: this process.
        world: number of processes.

    Raises:
        SpecError: no objects, or one with fewer views than a step needs.
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
        check_counts(dataset, objects, counts)
        self._streamed = lru_cache(maxsize=2)(self._stream_order) if isinstance(dataset, Streams) else None

    def plan(self, step: int) -> BatchPlan:
        """The batch of one (micro) step of this process."""
        rng = np.random.default_rng([self._seed, step, self._rank])
        objects = self.objects(step)
        records = [self._dataset.record(index) for index in objects]
        t, is_clean = self._noise_levels(rng)
        return BatchPlan(
            objects=objects,
            views=[self._views(len(record.files), rng) for record in records],
            captions=[self._caption(record.captions, rng) for record in records],
            t=t,
            is_clean=is_clean,
            novel_pixels=self._novel_pixels(rng),
            seed=int(rng.integers(2**62)),
        )

    def objects(self, step: int) -> list[int]:
        """The objects of one (micro) step of this process."""
        if self._streamed is not None:
            return [self._streamed_object(step * self.batch + i) for i in range(self.batch)]
        return [self._object((step * self._world + self._rank) * self.batch + i) for i in range(self.batch)]

    def _object(self, position: int) -> int:
        """The object at a position of the endless sequence of shuffled epochs, which all processes share."""
        epoch, place = divmod(position, len(self._objects))
        return self._objects[int(_shuffled(self._seed, epoch, len(self._objects))[place])]

    def _streamed_object(self, position: int) -> int:
        """The object at a position of this process's own endless sequence, in the dataset's order."""
        assert self._streamed is not None
        epoch, place = divmod(position, len(self._streamed(0)))
        return self._streamed(epoch)[place]

    def _stream_order(self, epoch: int) -> Sequence[int]:
        assert isinstance(self._dataset, Streams)
        return self._dataset.order(self._seed, epoch, self._rank, self._world)

    def _views(self, available: int, rng: np.random.Generator) -> list[int]:
        n, m = self._counts.inputs, self._counts.novel
        if rng.random() < 0.5:
            inputs = ring(n, available)
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


def ring(views: int, available: int) -> list[int]:
    """Indices of ``views`` cameras evenly around the object, as far as its first ``RING`` cameras allow."""
    if views > RING:
        return list(range(min(views, available)))
    return [i * min(RING, available) // views for i in range(views)]


def check_counts(dataset: Dataset, objects: list[int], counts: ViewsSpec) -> None:
    """Refuse a dataset that has too few objects or views.

    Raises:
        SpecError: names the object and the fields.
    """
    if not objects:
        raise SpecError("data: the dataset has no object in its split 'train'; mark some in dataset.json")
    wanted = counts.inputs + counts.novel
    for listed in known(dataset, objects):
        if listed.views < wanted:
            raise SpecError(
                f"views: inputs {counts.inputs} + novel {counts.novel} = {wanted}, but object '{listed.id}' has only "
                f"{listed.views} views; lower views.inputs or views.novel, or render more views"
            )


def known(dataset: Dataset, objects: Iterable[int]) -> list[Listed]:
    """What is known of some objects without reading those that are streamed."""
    if isinstance(dataset, Streams):
        listed = dataset.listed()
        return [listed[index] for index in objects]
    records = [dataset.record(index) for index in objects]
    return [Listed(r.id, len(r.files), r.licence, r.creator, source=r.source) for r in records]
