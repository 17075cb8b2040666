"""Scoring of what samples are compared with: real objects as the ceiling, and controls made from the same pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunemv3d_core.consistency import check_consistency
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.slots import MeasuredObject
from tunemv3d_eval.report.pictures import write_picture
from tunemv3d_eval.samples.identity import digest
from tunemv3d_eval.scoring.controls import control_objects
from tunemv3d_eval.scoring.measurement import Measurement, Place
from tunemv3d_eval.scoring.real import RealObjects
from tunemv3d_eval.scoring.score import Samples
from tunemv3d_eval.scoring.scored import Progress, Scored

KINDS = ("repeated", "shuffled", "noise")
"""Controls beside real objects, from the weakest contradiction to none of an object at all."""

MADE_OF = 16
"""Samples that controls are made from, the first ones: about as many as a dataset holds out objects."""

AT_ONCE = 8
"""Samples whose views are shuffled among one another, at least; as many as there are views, if these are more."""


def score_real(
    real: RealObjects,
    model: MultiviewDiffusion,
    bound: Any,
    measurement: Measurement,
    scored: Scored,
    pictures: Path,
    progress: Progress,
) -> None:
    """Measure real objects like samples, and draw each.

    Args:
        real: the objects.
        model: whose autoencoder and field.
        bound: what of the checkpoint their figures depend on.
        measurement: the metrics.
        scored: takes the figures.
        pictures: the folder for pictures.
        progress: told how many are measured.
    """
    keys = [f"real/{digest([bound, real.data.block, real.record(index).id, real.views])}" for index in real.indices]
    tasks = measurement.sets(keys, "real objects", record=True)
    wanted = measurement.asked_of_sets(tasks)
    kept: list[MeasuredObject] = []
    for position, (index, key) in enumerate(zip(real.indices, keys, strict=True)):
        record = real.record(index)
        place = Place(key, f"real object '{record.id}'", position, record=True)
        picture = pictures / f"real-{record.id}.png"
        if measurement.lacks(place) or position < wanted or not picture.is_file():
            sample = real.finished(index, model)
            measurement.measure(sample, place)
            if position < wanted:
                kept.append(sample.to("cpu"))
            write_picture(
                picture, f"{record.id}: {sample.prompt}", [("real", sample, measurement.answer(place).figures)]
            )
        caption = record.captions[0] if record.captions else ""
        scored.add(None, "real", caption, index, measurement.answer(place), id=record.id)
        progress(position + 1)
    scored.add_sets(measurement, tasks, None, "real", kept)


def score_controls(samples: Samples, measurement: Measurement, scored: Scored, progress: Progress) -> None:
    """Measure what is made of the samples at the greatest K: one view repeated, views of shuffled objects, noise.

    Args:
        samples: theirs; of the first ``MADE_OF``.
        measurement: the metrics.
        scored: takes the figures.
        progress: told how many are measured.
    """
    k = max(samples.stored, key=check_consistency)
    numbers = samples.usable(k)[:MADE_OF]
    chunks = _chunks(numbers, max(AT_ONCE, samples.settings.views))
    # One sample alone has no other to exchange views with.
    places: dict[str, list[Place]] = {kind: [] for kind in KINDS if kind != "shuffled" or len(numbers) > 1}
    for chunk in chunks:
        made_of = digest([samples.stored[k][i].sha256 for i in chunk])
        for kind, of_kind in places.items():
            of_kind += [
                Place(f"{kind}/{made_of}/{n}", f"{kind}, made from {samples.where(k, i)}", len(of_kind) + n)
                for n, i in enumerate(chunk)
            ]
    tasks = {kind: measurement.sets([p.key for p in of_kind], kind) for kind, of_kind in places.items()}
    wanted = {kind: measurement.asked_of_sets(of_kind) for kind, of_kind in tasks.items()}
    kept: dict[str, list[MeasuredObject]] = {kind: [] for kind in places}
    done = 0
    for chunk in chunks:
        its = {kind: of_kind[done : done + len(chunk)] for kind, of_kind in places.items()}
        if any(measurement.lacks(p) or p.position < wanted[kind] for kind, of_kind in its.items() for p in of_kind):
            made = control_objects(list(samples.finished(k, chunk).values()), samples.model, chunk[0])
            for kind, of_kind in its.items():
                for place, made_object in zip(of_kind, made[kind], strict=True):
                    measurement.measure(made_object.to(samples.model.device), place)
                    if place.position < wanted[kind]:
                        kept[kind].append(made_object.to("cpu"))
        done += len(chunk)
        progress(done * len(places))
    for kind, of_kind in places.items():
        for i, place in zip(numbers, of_kind, strict=True):
            scored.add(k, kind, samples.jobs[i].prompt, samples.jobs[i].seed, measurement.answer(place))
        scored.add_sets(measurement, tasks[kind], k, kind, kept[kind])


def _chunks(numbers: Sequence[int], size: int) -> list[Sequence[int]]:
    """Cut numbers in pieces of ``size``, and one more in the last where one alone would be left."""
    starts = list(range(0, len(numbers), size))
    if len(starts) > 1 and len(numbers) - starts[-1] == 1:
        starts.pop()
    ends = [*starts[1:], len(numbers)]
    return [numbers[start:end] for start, end in zip(starts, ends, strict=True)]
