"""The packing job: a dataset folder in, shards with an index out. Finished shards are never redone."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from tunemv3d_core.assemble import build_component
from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.atomic import atomic_file, make_folders
from tunemv3d_core.io.shards import INDEX, PackedObject, Shard, ShardIndex, write_index
from tunemv3d_core.plugins.registry import registry
from tunemv3d_core.slots import Dataset
from tunemv3d_data.licences import spdx
from tunemv3d_data.notes import NoteCounts, notes_of, refusal
from tunemv3d_data.shards.encoder import Encoder
from tunemv3d_data.shards.plan import PlannedShard, plan
from tunemv3d_data.shards.writer import NOTE, note_of, remembered, write_shard

ATTRIBUTION = "ATTRIBUTION.md"
LOCK = ".lock"


@dataclass(frozen=True)
class PackJob:
    """A packing: what to pack, and how.

    Attributes:
        folder: of the dataset.
        out: folder of the shards.
        shard_bytes: about how large a shard becomes.
        objects: how many a shard holds; None goes by ``shard_bytes``.
        latents: whose latents are packed too (``Encoder``); "" packs none.
        strict: leave out objects on which there are notes.
    """

    folder: Path
    out: Path
    shard_bytes: int = 256_000_000
    objects: int | None = None
    latents: str = ""
    strict: bool = False

    def full(self, objects: int, total: int) -> bool:
        """Return whether so many objects, of so many bytes, are too much for one shard."""
        return total > self.shard_bytes if self.objects is None else objects > self.objects


@dataclass(frozen=True)
class Packed:
    """Result of a packing.

    Attributes:
        index: of the shards.
        kept: how many shards were there already.
        notes: on the dataset's objects, packed or left out.
        left_out: reasons by id.
    """

    index: ShardIndex
    kept: int
    notes: NoteCounts
    left_out: dict[str, str]

    def licences(self) -> dict[str, int]:
        """Count objects by licence."""
        return dict(Counter(spdx(packed.licence) for packed in self.index))


def run_pack(job: PackJob, started: Callable[[int], object], done: Callable[[int], object]) -> Packed:
    """Check a dataset and pack it.

    Args:
        job: what to pack.
        started: called with the number of objects.
        done: called with the number of objects that are finished since the last call.

    Raises:
        TuneMV3DError: the dataset is bad, or the folder holds something else (before anything is written); another
            process packs into it; the disk is full.
    """
    _check_free(job)
    options = registry().get("dataset", "multiview").plugin.spec
    dataset: Dataset = build_component("dataset", options(type="multiview", path=str(job.folder)))  # type: ignore[call-arg]
    encoder = Encoder(job.latents, dataset) if job.latents else None
    c, h, w = encoder.packed.shape if encoder else (0, 0, 0)
    left_out = _left_out(dataset) if job.strict else {}
    if len(left_out) == len(dataset):
        raise DatasetError(f"{job.folder}: every object has notes, and --strict leaves all out; see its report.json")
    shards = plan(job.folder, dataset, _name(job), job.full, 4 * (c + 1) * h * w, frozenset(left_out))
    started(len(dataset) - len(left_out))
    try:
        make_folders(job.out, durable=True)
        with _alone(job):
            index, kept = _write(job, dataset, encoder, shards, done)
    except OSError as error:
        raise DatasetError(f"{job.out}: cannot be written: {error}; finished shards are kept, run it again") from None
    return Packed(index, kept, NoteCounts.of(map(dataset.record, range(len(dataset)))), left_out)


@contextmanager
def _alone(job: PackJob) -> Iterator[None]:
    """Hold the folder: the first to end would tidy up what the second still writes. A killed process holds nothing."""
    try:
        with FileLock(job.out / LOCK, timeout=0):
            _check_free(job)  # another may have ended since the first look
            yield
    except Timeout:
        raise DatasetError(
            f"{job.out}: another process packs into this folder; wait for its end, or choose another --out"
        ) from None
    finally:
        if (job.out / INDEX).exists():  # nobody packs here any more
            with suppress(OSError):  # where open files cannot be removed, another may look at it just now
                (job.out / LOCK).unlink()


def _left_out(dataset: Dataset) -> dict[str, str]:
    """Find the objects with notes, with the reason, by id."""
    records = map(dataset.record, range(len(dataset)))
    return {record.id: refusal(notes) for record in records if (notes := notes_of(record.extra))}


def _write(
    job: PackJob, dataset: Dataset, encoder: Encoder | None, shards: list[PlannedShard], done: Callable[[int], object]
) -> tuple[ShardIndex, int]:
    files: list[Shard] = []
    objects: dict[str, PackedObject] = {}
    kept = 0
    for number, planned in enumerate(shards):
        path = job.out / planned.file
        made_of = planned.fingerprint(encoder.packed.key if encoder else "")
        found = remembered(path, made_of)
        if found is not None:
            kept += 1
            done(len(planned.samples))
        else:
            found = write_shard(path, planned, number, dataset.record, encoder, made_of, lambda: done(1))
        files.append(found[0])
        objects |= {packed.id: packed for packed in found[1]}
    size = dataset.record(0).size
    ids = (dataset.record(index).id for index in range(len(dataset)))
    in_order = (objects[id_] for id_ in ids if id_ in objects)
    index = ShardIndex(_name(job), size, encoder.packed if encoder else None, files, in_order)
    if (job.folder / ATTRIBUTION).exists():
        with atomic_file(job.out / ATTRIBUTION, durable=True) as beside:
            shutil.copyfile(job.folder / ATTRIBUTION, beside)
    write_index(job.out / INDEX, index)
    _tidy(job.out, {shard.file for shard in files})
    return index, kept


def _tidy(out: Path, files: set[str]) -> None:
    """Remove the notes, and shards of an earlier start with other options."""
    for note in out.glob(f"*{NOTE}"):
        note.unlink()
        file = note.name.removesuffix(NOTE) + ".tar"
        if file not in files:
            (out / file).unlink(missing_ok=True)


def _name(job: PackJob) -> str:
    return job.folder.resolve().name


def _check_free(job: PackJob) -> None:
    """Refuse a folder with anything but an interrupted packing."""
    if (job.out / INDEX).exists():
        raise DatasetError(f"{job.out / INDEX}: a finished packing; use another --out, or remove the folder")
    expected = (".tar.part", NOTE, f"{NOTE}.part", ATTRIBUTION, f"{ATTRIBUTION}.part", f"{INDEX}.part", LOCK)
    for path in job.out.iterdir() if job.out.exists() else ():
        if not path.name.endswith(expected) and not (path.suffix == ".tar" and note_of(path).exists()):
            raise DatasetError(f"{path}: no part of a packing; use another --out")
