"""Real views, measured like sampled ones: what a perfect sampler would reach."""

from dataclasses import dataclass
from typing import Any

import torch

from tunemv3d_core.assemble import build_component
from tunemv3d_core.config.blocks import named_dataset, options_of
from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.dataset_checks import check_dataset
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import DatasetError, TuneMV3DError
from tunemv3d_core.io.posed_images import PosedImages
from tunemv3d_core.slots import Dataset, MeasuredObject, Streams
from tunemv3d_core.view_selection import spread_views
from tunemv3d_eval.scoring.measure import finished_objects

OPTION = "--data"


def open_dataset(spec: RunSpec, other: str = "") -> Dataset:
    """Open the dataset that a checkpoint was tuned on, or another one, by whatever component reads it.

    Args:
        spec: of the checkpoint.
        other: an installed dataset, as ``named_dataset`` reads it, or a path for the checkpoint's own reader; ""
            takes the checkpoint's.

    Raises:
        TuneMV3DError: no such reader, options that it does not take, or what it says of the dataset.
    """
    try:
        options = options_of("dataset", OPTION, dataset_block(spec, other))
        dataset: Dataset = build_component("dataset", options)
        if other:  # no training has asked it anything
            check_dataset(dataset)
    except TuneMV3DError as error:
        if other:
            raise
        raise DatasetError(f"the checkpoint's dataset: {error}; name another one by {OPTION}") from error
    return dataset


def dataset_block(spec: RunSpec, other: str = "") -> dict[str, Any]:
    """Return the options that ``open_dataset`` opens a dataset by."""
    own = spec.data.model_dump(mode="json")
    return (named_dataset(OPTION, other) or own | {"path": other}) if other else own


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


@dataclass(frozen=True)
class Data:
    """A dataset of real objects.

    Attributes:
        dataset: itself.
        block: options that it was opened by.
    """

    dataset: Dataset
    block: dict[str, Any]


def find_data(spec: RunSpec, other: str) -> Data:
    """Open a checkpoint's dataset, or another, as ``open_dataset`` does."""
    return Data(open_dataset(spec, other), dataset_block(spec, other))


@dataclass(frozen=True)
class RealObjects:
    """Held-out objects of a dataset, seen by cameras around each.

    Attributes:
        data: theirs.
        indices: of the objects.
        views: cameras of each.
    """

    data: Data
    indices: list[int]
    views: int

    def record(self, index: int) -> PosedImages:
        """Return what the dataset knows of an object."""
        return self.data.dataset.record(index)

    @torch.no_grad()
    def finished(self, index: int, model: MultiviewDiffusion) -> MeasuredObject:
        """Read an object and pass its views through the model's autoencoder."""
        record, device = self.record(index), model.device
        seen = self.data.dataset.views(index, spread_views(record.cameras, self.views))
        latents = model.backbone.encode_images(seen.images.to(device))
        text = model.backbone.encode_text(seen.captions)
        return finished_objects(model, latents, text, seen.cameras.to(device), seen.captions, [record])[0]


def real_objects(data: Data, views: int) -> RealObjects:
    """Find the held-out objects of a dataset, as ``held_out_objects`` does."""
    return RealObjects(data, held_out_objects(data.dataset, views), views)
