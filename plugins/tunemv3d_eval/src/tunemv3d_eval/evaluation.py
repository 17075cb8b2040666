"""The whole evaluation: sample every prompt at every consistency strength with equal noise, measure, draw."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from tunemv3d_core.assemble import build_component
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.run_spec import SampleSpec
from tunemv3d_core.consistency import Consistency, format_consistency
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import DatasetError
from tunemv3d_core.plugins.registry import registry
from tunemv3d_core.sampling import sample
from tunemv3d_core.slots import Dataset
from tunemv3d_core.types import Views
from tunemv3d_eval.measure import Measured, means, measure
from tunemv3d_eval.pictures import write_picture

OBJECTS_AT_ONCE = 8
"""Objects in a batch on an accelerator; halved whenever they do not fit. One at a time on a CPU."""

Progress = Callable[[int], None]
"""Told how many objects are measured by now (each once a K)."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Settings:
    """What is sampled.

    Attributes:
        consistency: the values of K.
        samples: a prompt's samples, each with its own noise.
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
    model: MultiviewDiffusion, prompts: list[str], settings: Settings, pictures: Path, progress: Progress
) -> dict[str, Any]:
    """Sample and measure; each object's picture is written into ``pictures`` as soon as it is done.

    Returns:
        ``means`` (one entry a K, with the seconds it took) and ``objects`` (one a prompt, seed and K).
    """
    seconds = dict.fromkeys(settings.consistency, 0.0)
    objects: list[dict[str, Any]] = []

    def work(batch: Sequence[Job]) -> list[tuple[Consistency, Measured]]:
        rows = []
        for k in settings.consistency:
            start = time.perf_counter()
            rows.append((k, sample_and_measure(model, batch, settings, k)))
            seconds[k] += time.perf_counter() - start
            progress(len(objects) + len(rows) * len(batch))
        return rows

    at_once = 1 if _device(model).type == "cpu" else OBJECTS_AT_ONCE
    for batch, rows in in_batches(jobs(prompts, settings.samples), at_once, work):
        for i, job in enumerate(batch):
            for k, measured in rows:
                objects.append({"prompt": job.prompt, "seed": job.seed, "consistency": k, **measured.figures[i]})
            labelled = [(f"K = {format_consistency(k)}", measured) for k, measured in rows]
            write_picture(pictures / f"{job.seed:03d}.png", f"{job.prompt}  (seed {job.seed})", labelled, i)
    table = [
        {"consistency": k, **means([o for o in objects if o["consistency"] == k]), "seconds": round(seconds[k], 1)}
        for k in settings.consistency
    ]
    return {"means": table, "objects": objects}


@torch.no_grad()
def sample_and_measure(model: MultiviewDiffusion, batch: Sequence[Job], settings: Settings, k: Consistency) -> Measured:
    """Sample a batch at K = ``k`` and measure it."""
    device, backbone = _device(model), model.backbone
    cameras = Cameras.orbit(settings.views, settings.elevation).to(device)[None].expand(len(batch), settings.views)
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
    return measure(model, latents, text, cameras, prompts)


def open_dataset(name: str) -> Dataset:
    """A dataset of posed pictures, read by the component ``multiview``: a packaged one's name, or a folder.

    Raises:
        ComponentError: the reader is not installed.
        DatasetError: no such dataset, or a damaged one.
    """
    reader = registry().get("dataset", "multiview")
    dataset: Dataset = build_component(
        "dataset", reader.plugin.spec.model_validate({"type": "multiview", "path": name})
    )
    return dataset


def held_out_views(dataset: Dataset, views: int) -> list[Views]:
    """The first ``views`` cameras of every held-out object.

    Raises:
        DatasetError: nothing is held out, or an object has fewer cameras.
    """
    held_out = dataset.splits().get("held_out", [])
    if not held_out:
        raise DatasetError("--real: no object of this dataset is marked 'held_out' in its dataset.json")
    try:
        return [dataset.views(index, list(range(views))) for index in held_out]
    except IndexError:
        raise DatasetError(f"--real: an object has fewer than {views} cameras: use fewer --views") from None


@torch.no_grad()
def evaluate_real(
    model: MultiviewDiffusion, objects: list[Views], pictures: Path, progress: Progress
) -> dict[str, Any]:
    """The same measures of real views that passed the model's autoencoder: what a perfect sampler would reach."""
    device = _device(model)
    figures: list[dict[str, Any]] = []
    for views in objects:
        latents = model.backbone.encode_images(views.images.to(device))
        text = model.backbone.encode_text(views.captions)
        measured = measure(model, latents, text, views.cameras.to(device), views.captions)
        figures.append({"id": views.ids[0], "caption": views.captions[0], **measured.figures[0]})
        title = f"{views.ids[0]}: {views.captions[0]}"
        write_picture(pictures / f"real-{views.ids[0]}.png", title, [("real", measured)], 0)
        progress(len(figures))
    return {"means": means(figures), "objects": figures}


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


def _device(model: MultiviewDiffusion) -> torch.device:
    return next(model.parameters()).device
