"""The whole evaluation: sample every prompt at every consistency strength with equal noise, measure, draw."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.run_spec import SampleSpec
from tunemv3d_core.consistency import Consistency, format_consistency
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.sampling import latent_size, sample
from tunemv3d_core.slots import MeasuredObject
from tunemv3d_eval.report.pictures import write_picture
from tunemv3d_eval.scoring.measure import Figures, Measurement, finished_objects

OBJECTS_AT_ONCE = 8
"""Objects in a batch on an accelerator; halved whenever they do not fit. One at a time on a CPU."""

Progress = Callable[[int], None]
"""Callback on progress: how many objects are measured by now (each once for every K)."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Settings:
    """Settings of the sampling.

    Attributes:
        consistency: the values of K.
        samples: samples of each prompt, each from its own noise.
        options: of the sampling, but for K.
        views: cameras, evenly around the object.
        elevation: of the cameras, degrees.
    """

    consistency: tuple[Consistency, ...]
    samples: int
    options: SampleSpec
    views: int
    elevation: float

    def as_json(self) -> dict[str, Any]:
        """Return all settings by name, as ``evaluate.json`` records them."""
        own = {name: value for name, value in vars(self).items() if name != "options"}
        return {**self.options.model_dump(mode="json"), **own}


@dataclass(frozen=True)
class Job:
    """One prompt with the seed of its noise."""

    prompt: str
    seed: int


def jobs(prompts: list[str], samples: int) -> list[Job]:
    """Every prompt ``samples`` times. No two jobs share a seed, so that no noise is favoured."""
    return [Job(prompt, i + s * len(prompts)) for i, prompt in enumerate(prompts) for s in range(samples)]


def evaluate_prompts(
    model: MultiviewDiffusion,
    prompts: list[str],
    settings: Settings,
    measurement: Measurement,
    pictures: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Sample and measure; each object's picture is written into ``pictures`` as soon as it is done.

    Returns:
        ``means`` (one entry for each K, with the seconds it took), ``objects`` (one for each prompt, seed and K) and
        what was ``skipped``.
    """
    seconds = dict.fromkeys(settings.consistency, 0.0)
    objects: list[dict[str, Any]] = []
    kept: dict[Consistency, list[MeasuredObject]] = {k: [] for k in settings.consistency}

    def work(batch: Sequence[Job]) -> list[tuple[Consistency, list[MeasuredObject], list[Figures]]]:
        rows = []
        for k in settings.consistency:
            start = time.perf_counter()
            samples = sample_objects(model, batch, settings, k)
            where = [f"'{job.prompt}', seed {job.seed}, {_told(k)}" for job in batch]
            pairs = zip(samples, where, strict=True)
            rows.append((k, samples, [measurement.of_object(*pair, alone=len(batch) == 1) for pair in pairs]))
            seconds[k] += time.perf_counter() - start
            progress(len(objects) + len(rows) * len(batch))
        return rows

    at_once = 1 if model.device.type == "cpu" else OBJECTS_AT_ONCE
    for batch, rows in in_batches(jobs(prompts, settings.samples), at_once, work):
        for i, job in enumerate(batch):
            for k, _, figures in rows:
                objects.append({"prompt": job.prompt, "seed": job.seed, "consistency": k, **figures[i]})
            labelled = [(_told(k), samples[i], figures[i]) for k, samples, figures in rows]
            write_picture(pictures / f"{job.seed:03d}.png", f"{job.prompt}  (seed {job.seed})", labelled)
        if measurement.asks_sets:
            for k, samples, _ in rows:
                kept[k] += [sample.to("cpu") for sample in samples]
    table = []
    for k in settings.consistency:
        start = time.perf_counter()
        of_set = measurement.of_set(kept[k], f"samples at {_told(k)}")
        seconds[k] += time.perf_counter() - start
        of_objects = measurement.means([row for row in objects if row["consistency"] == k])
        table.append({"consistency": k, **of_objects, **of_set, "seconds": round(seconds[k], 1)})
    return {"means": table, "objects": objects, "skipped": measurement.skipped}


@torch.no_grad()
def sample_objects(
    model: MultiviewDiffusion, batch: Sequence[Job], settings: Settings, k: Consistency
) -> list[MeasuredObject]:
    """Sample a batch at K = ``k``."""
    device, backbone = model.device, model.backbone
    h, w = latent_size(backbone.ports, settings.options.size)
    cameras = Cameras.orbit(settings.views, settings.elevation, aspect=w / h).to(device)[None]
    cameras = cameras.expand(len(batch), settings.views)
    prompts = [job.prompt for job in batch]
    text = backbone.encode_text(prompts)
    latents = sample(
        model,
        text,
        cameras,
        [job.seed for job in batch],
        settings.options.merged(consistency=k),
        negative=backbone.encode_text([""] * len(batch)),
    )
    return finished_objects(model, latents, text, cameras, prompts)


def in_batches(
    items: Sequence[Item], size: int, work: Callable[[Sequence[Item]], Any]
) -> Iterator[tuple[Sequence[Item], Any]]:
    """Work through items in batches of ``size``; from the first batch that does not fit in memory on, of half of it."""
    done = 0
    while done < len(items):
        batch = items[done : done + size]
        try:
            result = work(batch)
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                raise
            size = len(batch) // 2
            torch.cuda.empty_cache()
            continue
        yield batch, result
        done += len(batch)


def _told(k: Consistency) -> str:
    return f"K = {format_consistency(k)}"
