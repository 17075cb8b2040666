"""Real views, measured like sampled ones: what a perfect sampler would reach."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tunemv3d_core.assemble import build_component
from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import DatasetError, TuneMV3DError
from tunemv3d_core.slots import Dataset, MeasuredObject, Streams
from tunemv3d_core.view_selection import spread_views
from tunemv3d_eval.options import options_of, read_block
from tunemv3d_eval.report.pictures import write_picture
from tunemv3d_eval.scoring.measure import Measurement, finished_objects

OPTION = "--data"


def open_dataset(spec: RunSpec, other: str = "") -> Dataset:
    """Open the dataset that a checkpoint was tuned on, or another one, by whatever component reads it.

    Args:
        spec: of the checkpoint.
        other: a path for the checkpoint's own reader, or a block ``{"type": name, ...}``; "" takes the checkpoint's.

    Raises:
        TuneMV3DError: no such reader, options that it does not take, or what it says of the dataset.
    """
    own = spec.data.model_dump(mode="json")
    block = (read_block(OPTION, other) or own | {"path": other}) if other else own
    try:
        dataset: Dataset = build_component("dataset", options_of("dataset", OPTION, block))
    except TuneMV3DError as error:
        if other:
            raise
        raise DatasetError(f"the checkpoint's dataset: {error}; name another one by {OPTION}") from error
    return dataset


def held_out_objects(dataset: Dataset, views: int) -> list[int]:
    """Indices of the held-out objects.

    Raises:
        DatasetError: nothing is held out, or an object has fewer than ``views`` cameras.
    """
    held_out = dataset.splits().get("held_out", [])
    if not held_out:
        raise DatasetError("--real: no object of the dataset is marked 'held_out'")
    infos = dataset.object_infos() if isinstance(dataset, Streams) else None
    for index in held_out:
        known = infos[index] if infos is not None else dataset.record(index)
        if known.views < views:
            problem = f"object '{known.id}' has {known.views} cameras, fewer than {views}"
            raise DatasetError(f"--real: {problem}: use fewer --views")
    return held_out


@torch.no_grad()
def evaluate_real(
    model: MultiviewDiffusion,
    dataset: Dataset,
    objects: list[int],
    views: int,
    measurement: Measurement,
    pictures: Path,
    progress: Callable[[int], None],
) -> dict[str, Any]:
    """Measure real objects from ``views`` cameras around each, passed through the model's autoencoder.

    Returns:
        ``means``, ``objects`` and what was ``skipped``.
    """
    device = model.device
    rows: list[dict[str, Any]] = []
    kept: list[MeasuredObject] = []
    for index in objects:
        record = dataset.record(index)
        seen = dataset.views(index, spread_views(record.cameras, views))
        latents = model.backbone.encode_images(seen.images.to(device))
        text = model.backbone.encode_text(seen.captions)
        (sample,) = finished_objects(model, latents, text, seen.cameras.to(device), seen.captions, [record])
        figures = measurement.of_object(sample, f"real object '{record.id}'")
        rows.append({"id": record.id, "caption": sample.prompt, **figures})
        title = f"{record.id}: {sample.prompt}"
        write_picture(pictures / f"real-{record.id}.png", title, [("real", sample, figures)])
        if measurement.asks_sets:
            kept.append(sample.to("cpu"))
        progress(len(rows))
    of_set = measurement.of_set(kept, "real objects")
    return {"means": measurement.means(rows) | of_set, "objects": rows, "skipped": measurement.skipped}
