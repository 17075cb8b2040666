"""Is a run that goes on still the same run: the same data, as many processes?"""

import hashlib
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from tunemv3d_core.console import messages
from tunemv3d_core.io.mismatch_policy import PROVENANCE, apply_policy
from tunemv3d_core.slots import Dataset, HasMaps, KeepsLatents, Streams

Fingerprint = dict[str, Any]
"""``objects``, how many there are, and ``sha256`` of what is learned from."""

READ = 2_000
"""Up to so many objects' pictures are read for the fingerprint; of larger datasets only records count."""


def dataset_fingerprint(dataset: Dataset, maps: Collection[str] = ()) -> Fingerprint:
    """Return the fingerprint of splits, captions, cameras and, where they are few, pictures.

    A streamed dataset is known by the summaries of its objects, so that none is read for it.

    Args:
        dataset: what is learned from.
        maps: names of its maps that losses look at; they count as pictures do.
    """
    digest = hashlib.sha256(repr(sorted(dataset.splits().items())).encode())
    if isinstance(dataset, Streams):
        for info in dataset.object_infos():
            digest.update(repr(info).encode())
    else:
        for index in range(len(dataset)):
            record = dataset.record(index)
            digest.update(repr((record.id, record.size, record.captions)).encode())
            digest.update(record.cameras.camera_to_world.cpu().numpy().tobytes())
            digest.update(record.cameras.intrinsics.cpu().numpy().tobytes())
            if isinstance(dataset, KeepsLatents) and len(dataset) <= READ:
                digest.update(dataset.digest(index).encode())
            if isinstance(dataset, HasMaps) and maps and len(dataset) <= READ:
                for _, values in sorted(dataset.maps(index, list(range(record.views)), maps).items()):
                    digest.update(values.numpy().tobytes())
    return {"objects": len(dataset), "sha256": digest.hexdigest()}


def check_unchanged(restored: dict[str, Any], present: Fingerprint, processes: int, source: Path) -> None:
    """Compare what a checkpoint's state says of data and processes with what there is.

    Another number of processes is told and gone on with. ``TUNEMV3D_PROVENANCE`` says what to do about other data;
    unset, that is an error.

    Args:
        restored: the state; those of earlier versions say nothing.
        present: of the dataset.
        processes: at work now.
        source: the checkpoint.

    Raises:
        CheckpointError: the data are others.
    """
    before, count = restored.get("data"), restored.get("processes", processes)
    if before is not None and before != present:
        objects = f"{before['objects']} objects then, {present['objects']} now"
        differing = objects if before["objects"] != present["objects"] else "other pictures, cameras or captions"
        problem = (
            f"the dataset is not the one that this run learned from ({differing}). Restore it, or start a new run from "
            f"these weights with --set train.start_from={source}"
        )
        apply_policy([problem], source, os.environ.get(PROVENANCE) or "error")
    if count != processes:
        messages.print(
            f"trained by {count} processes so far, goes on with {processes}: a step sees {processes}/{count} times as "
            "many objects",
            style="yellow",
            soft_wrap=True,
        )
