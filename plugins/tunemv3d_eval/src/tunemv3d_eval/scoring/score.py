"""Scoring of a checkpoint's samples at every K by all metrics, and a picture of each prompt."""

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tunemv3d_core.consistency import Consistency, format_consistency
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.io.generated import GeneratedBy
from tunemv3d_core.slots import MeasuredObject
from tunemv3d_eval.lines import Lines
from tunemv3d_eval.report.pictures import write_picture
from tunemv3d_eval.samples.jobs import Job, Settings, in_batches, objects_at_once
from tunemv3d_eval.samples.store import SampleStore, StoredSample
from tunemv3d_eval.scoring.measure import finished_objects
from tunemv3d_eval.scoring.measurement import Answer, Figures, Measurement, Place
from tunemv3d_eval.scoring.scored import Progress, Scored

AT_ONCE = 8
"""Objects that are decoded and fused together on an accelerator; halved whenever they do not fit."""

WAITING = 16
"""Pictures that may wait to be drawn while other objects are measured."""


class Samples:
    """The samples of a checkpoint, read from disk.

    Args:
        model: that they come from.
        store: where they are.
        settings: of the sampling.
        jobs: prompts and seeds, in order.
        by: what made them, as their pictures tell it.
    """

    def __init__(
        self,
        model: MultiviewDiffusion,
        store: SampleStore,
        settings: Settings,
        jobs: Sequence[Job],
        by: GeneratedBy,
    ) -> None:
        self.model, self.settings, self.jobs, self.by = model, settings, jobs, by
        self.stored = {k: [store.read(k, job) for job in jobs] for k in settings.consistency}

    def __iter__(self) -> Iterator[tuple[Consistency, int, StoredSample]]:
        """Go through all, K by K: K, the job's number, the sample."""
        for k, of_k in self.stored.items():
            for i, sample in enumerate(of_k):
                yield k, i, sample

    def usable(self, k: Consistency) -> list[int]:
        """Return the numbers of the jobs whose sample at K can be measured."""
        return [i for i, sample in enumerate(self.stored[k]) if sample.latents is not None]

    def place(self, k: Consistency, i: int) -> Place:
        """Return the place of a job's sample among the others."""
        return Place(self.stored[k][i].sha256, self.where(k, i), i)

    def where(self, k: Consistency, i: int) -> str:
        """Return what messages call a sample."""
        return f"'{self.jobs[i].prompt}', seed {self.jobs[i].seed}, {k_told(k)}"

    @torch.no_grad()
    def finished(self, k: Consistency, numbers: Sequence[int]) -> dict[int, MeasuredObject]:
        """Decode and fuse the samples of jobs at K, by the jobs' numbers, without those that cannot be measured."""
        usable = [i for i in numbers if self.stored[k][i].latents is not None]
        if not usable:
            return {}
        model, prompts = self.model, [self.jobs[i].prompt for i in usable]
        latents = torch.stack([latents for i in usable if (latents := self.stored[k][i].latents) is not None])
        cameras = self.settings.cameras(model.backbone.ports).to(model.device)[None]
        cameras = cameras.expand(len(usable), self.settings.views)
        text = model.backbone.encode_text(prompts)
        objects = finished_objects(model, latents.to(model.device), text, cameras, prompts)
        return dict(zip(usable, objects, strict=True))


def score_share(
    samples: Samples, measurement: Measurement, pictures: Path, share: Sequence[Job], progress: Progress
) -> None:
    """Measure and draw a share of the samples, for the process that reports; arguments as for ``score_samples``."""
    own = {i for i, job in enumerate(samples.jobs) if job in share}
    _measure(samples, measurement, {k: set() for k in samples.stored}, pictures, progress, own)


def merge_scores(samples: Samples, shares: Sequence[Lines], scores: Lines) -> None:
    """Add what other processes measured to ``scores``, in the order in which one process would have."""
    by_object: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for share in shares:
        for key, record in share.items():
            by_object.setdefault(key.partition("/")[0], []).append((key, record))
    for i in range(len(samples.jobs)):
        for k in samples.stored:
            for key, record in by_object.get(samples.place(k, i).key, ()):
                if key not in scores:
                    scores.add(key, record)


def score_samples(
    samples: Samples, measurement: Measurement, scored: Scored, pictures: Path, progress: Progress
) -> None:
    """Measure the samples, and draw every prompt's.

    Args:
        samples: theirs.
        measurement: the metrics.
        scored: takes the figures.
        pictures: the folder for pictures.
        progress: told how many are measured.
    """
    for k, i, stored in samples:
        if problem := stored.error or stored.fault:
            measurement.fail("sampling" if stored.error else "samples", samples.where(k, i), problem)
    tasks = {
        k: measurement.sets([of_k[i].sha256 for i in samples.usable(k)], f"samples at {k_told(k)}")
        for k, of_k in samples.stored.items()
    }
    for_sets = {k: set(samples.usable(k)[: measurement.asked_of_sets(of_k)]) for k, of_k in tasks.items()}
    kept = _measure(samples, measurement, for_sets, pictures, progress)
    for k, i, stored in samples:
        job, place = samples.jobs[i], samples.place(k, i)
        refused = Answer(measurement.nothing(), stored.fault)
        answer = refused if stored.fault else measurement.answer(place, stored.error)
        scored.add(k, None, job.prompt, job.seed, answer)
    for k, of_k in tasks.items():
        scored.add_sets(measurement, of_k, k, None, [kept[k][i] for i in sorted(kept[k])])


def _measure(
    samples: Samples,
    measurement: Measurement,
    for_sets: Mapping[Consistency, set[int]],
    pictures: Path,
    progress: Progress,
    among: Collection[int] | None = None,
) -> dict[Consistency, dict[int, MeasuredObject]]:
    """Measure what has not been, of all or of ``among``, the numbers of some.

    Returns:
        The samples that sets are made of, on the CPU, by their jobs' numbers.
    """
    strengths = list(samples.stored)
    kept: dict[Consistency, dict[int, MeasuredObject]] = {k: {} for k in strengths}
    undrawn = {i for i, job in enumerate(samples.jobs) if not (pictures / _file(job)).is_file()}
    lacking = {i for k in strengths for i in samples.usable(k) if measurement.lacks(samples.place(k, i))}
    wanted = undrawn.union(lacking, *for_sets.values())
    todo = sorted(wanted if among is None else wanted.intersection(among))
    done = (len(samples.jobs) - len(todo)) * len(strengths)
    progress(done)
    with ThreadPoolExecutor(2) as drawer:
        pending: deque[Future[None]] = deque()

        def work(batch: Sequence[int]) -> None:
            objects = {k: samples.finished(k, batch) for k in strengths}
            for k, of_k in objects.items():
                for i, sample in of_k.items():
                    measurement.measure(sample, samples.place(k, i), alone=len(batch) == 1)
            on_cpu = {k: {i: sample.to("cpu") for i, sample in of_k.items()} for k, of_k in objects.items()}
            for k in strengths:
                kept[k] |= {i: sample for i, sample in on_cpu[k].items() if i in for_sets[k]}
            for i in batch:
                shown = {k: on_cpu[k].get(i) for k in strengths}
                told = {k: measurement.answer(samples.place(k, i)).figures for k in strengths}
                pending.append(drawer.submit(_draw, pictures, samples.jobs[i], shown, told, samples.by))
            while len(pending) > WAITING:
                pending.popleft().result()

        for batch, _ in in_batches(todo, objects_at_once(samples.model, AT_ONCE), work):
            done += len(batch) * len(strengths)
            progress(done)
        while pending:
            pending.popleft().result()
    return kept


def _draw(
    pictures: Path,
    job: Job,
    shown: Mapping[Consistency, MeasuredObject | None],
    told: Mapping[Consistency, Figures],
    by: GeneratedBy,
) -> None:
    """Draw a prompt's samples at every K; one that cannot be shown has its label alone."""
    if any(sample is not None for sample in shown.values()):
        rows = [(k_told(k), sample, told[k]) for k, sample in shown.items()]
        xmp = replace(by, prompt=job.prompt, seed=job.seed).xmp
        write_picture(pictures / _file(job), f"{job.prompt}  (seed {job.seed})", rows, xmp)


def _file(job: Job) -> str:
    return f"{job.seed:03d}.png"


def k_told(k: Consistency) -> str:
    """Return what people call a K."""
    return f"K = {format_consistency(k)}"
