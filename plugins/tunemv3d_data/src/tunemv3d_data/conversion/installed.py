"""Datasets of any installed reader as a folder of ours, for the commands that work on files."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor

from tunemv3d_core.assemble import build_component
from tunemv3d_core.config.blocks import named_dataset, options_of
from tunemv3d_core.console import messages
from tunemv3d_core.dataset_checks import ask_reader, check_dataset
from tunemv3d_core.errors import ComponentError, DatasetError, TuneMV3DError
from tunemv3d_core.io.file_names import fault_of
from tunemv3d_core.io.posed_images import PosedImages, write_manifest, write_object
from tunemv3d_core.plugins.assets import find_asset
from tunemv3d_core.plugins.registry import registry
from tunemv3d_core.slots import Dataset
from tunemv3d_core.types import Views
from tunemv3d_data.licences import attribution
from tunemv3d_data.rendering.pictures import file_names, save_image

_READ_AT_ONCE = 16
"""Views: of large pictures, all at once would not fit into memory."""


@dataclass(frozen=True)
class OpenedFolder:
    """Folder of a dataset that a command line names.

    Attributes:
        path: the folder.
        name: of the dataset, for the names of files.
        told: the folder, or the reader's name, for people.
        data: what trains on it, after --set.
        faults: what was wrong with objects that are not in the folder, by id.
    """

    path: Path
    name: str
    told: str
    data: str
    faults: dict[str, str] = field(default_factory=dict)

    def beside(self, out: Path | None, kind: str) -> Path:
        """Return the folder for what is made of the dataset: ``out``, or NAME-KIND here.

        Raises:
            DatasetError: it lies in the dataset.
        """
        out = out if out is not None else Path(f"{self.name}-{kind}")
        if out.resolve().is_relative_to(self.path.resolve()):
            raise DatasetError(f"--out {out}: lies in the dataset, which is only read; choose another folder")
        return out


@contextmanager
def opened_folder(text: str) -> Iterator[OpenedFolder]:
    """Find a dataset's folder. That of an installed reader is written, and lasts as long as the context.

    Args:
        text: a folder, a packaged dataset's name, or an installed reader (``named_dataset``).

    Raises:
        TuneMV3DError: there is no such dataset, or it is not what training asks of datasets.
    """
    block = named_dataset("DATASET", text)
    if block is None:
        path = _folder(text)
        yield OpenedFolder(path, path.resolve().name, str(path), f"data.path={text}")
        return
    name = block["type"].rpartition(":")[2]
    dataset: Dataset = build_component("dataset", options_of("dataset", "DATASET", block))
    try:
        check_dataset(dataset)
    except DatasetError as error:
        raise DatasetError(f"the dataset '{block['type']}': {error}") from error
    with TemporaryDirectory(prefix="tunemv3d-", ignore_cleanup_errors=True) as beside:
        path = Path(beside, name)
        try:
            faults = write_dataset(dataset, path)
        except OSError as error:
            raise DatasetError(f"{path}: cannot be written: {error}; set TMPDIR to a folder with more room") from None
        yield OpenedFolder(path, name, block["type"], f"data={json.dumps(block)}", faults)


def _folder(text: str) -> Path:
    try:
        return find_asset(text)
    except ComponentError as error:
        readers = ", ".join(registry().names("dataset"))
        raise ComponentError(f"{error}, nor an installed reader of datasets: {readers}") from None


def write_dataset(dataset: Dataset, folder: Path) -> dict[str, str]:
    """Write the objects of all splits as a dataset of ours, without loss; datasets give no depth and no normals.

    Args:
        dataset: of any reader.
        folder: for the dataset; there is none yet.

    Returns:
        What was wrong with objects that cannot be read, by id, or by number where that is unknown.

    Raises:
        DatasetError: no object can be read.
        OSError: the disk is full or not writable.
    """
    splits = {index: split for split, objects in dataset.splits().items() for index in objects}
    faults: dict[str, str] = {}
    written: dict[str, PosedImages] = {}
    entries = []
    for index in track(sorted(splits), "reading pictures", console=messages, transient=True):
        id_ = f"object {index}"
        try:
            record: PosedImages = ask_reader(dataset, "record", index)
            id_ = record.id
            written[id_] = _write_object(dataset, index, record, folder)
        except TuneMV3DError as error:
            faults[id_] = str(error)
            continue
        entries.append({"id": id_, "split": splits[index], "licence": record.licence, "source": record.source})
    if not written:
        raise DatasetError(f"no object can be read; the first: {next(iter(faults.values()), 'the splits name none')}")
    write_manifest(folder, folder.name, entries)
    (folder / "ATTRIBUTION.md").write_text("".join(attribution(list(written.values()))), "utf-8", newline="\n")
    return faults


def _write_object(dataset: Dataset, index: int, record: PosedImages, folder: Path) -> PosedImages:
    """Write one object; its record as it was written."""
    if fault := fault_of(record.id):
        raise DatasetError(f"object '{record.id}': its id {fault}; give it another")
    here = folder / "objects" / record.id
    try:
        here.mkdir(parents=True)
    except FileExistsError:  # where capitals do not count
        raise DatasetError(f"object '{record.id}': its id is another object's, but for capitals; rename one") from None
    files = file_names(record.views, "webp")
    for first in range(0, record.views, _READ_AT_ONCE):
        chosen = list(range(first, min(first + _READ_AT_ONCE, record.views)))
        views: Views = ask_reader(dataset, "views", index, chosen)
        for view, rgba in zip(chosen, straight(views.images[0], views.alpha[0]), strict=True):
            save_image(here / files[view], rgba, None)
    kept = replace(record, files=files, depth_files=(), normal_files=())
    try:
        write_object(here, kept)
    except TypeError as error:
        raise DatasetError(f"object '{record.id}': its record's extra is no JSON: {error}; give plain values") from None
    return kept


def straight(images: Tensor, alpha: Tensor) -> NDArray[np.uint8]:
    """Take the white ground out of pictures.

    Args:
        images: ``n 3 H W`` from -1 to 1, on white.
        alpha: ``n H W`` from 0 to 1.

    Returns:
        ``n H W 4``, sRGB, straight alpha; black where alpha is 0.
    """
    a = alpha[:, None]
    colour = torch.where(a > 0, ((images + 1) / 2 - (1 - a)) / a.clamp(min=1e-6), 0.0)
    rgba = torch.cat([colour, a], 1).clamp(0, 1).mul(255).round().to(torch.uint8)
    return np.ascontiguousarray(rgba.permute(0, 2, 3, 1).numpy())
