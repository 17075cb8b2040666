"""Plan of which object goes into which shard, made before anything is written."""

import hashlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.json_files import read_json
from tunemv3d_core.io.shards import BLOCK, RECORD
from tunemv3d_core.slots import Dataset


@dataclass(frozen=True)
class Sample:
    """One object's files.

    Attributes:
        index: of the object in the dataset.
        record: its ``transforms.json``.
        pictures: (extension, file), one per frame.
        others: (extension, file) of depth, normals and whatever else its frames name.
        bytes: about what it takes in a shard.
    """

    index: int
    record: Path
    pictures: tuple[tuple[str, Path], ...]
    others: tuple[tuple[str, Path], ...]
    bytes: int

    def files(self) -> list[Path]:
        """All files of the object."""
        return [self.record, *(path for _, path in (*self.pictures, *self.others))]


@dataclass(frozen=True)
class PlannedShard:
    """A shard that is to be written: its file's name, its objects' split, and its objects."""

    file: str
    split: str
    samples: tuple[Sample, ...]

    def fingerprint(self, latent_key: str) -> str:
        """Fingerprint of what the shard is made of, so that a finished one is taken for no other."""
        digest = hashlib.sha256(f"{self.file} {self.split} {latent_key}".encode())
        for sample in self.samples:
            for path in sample.files():
                stat = path.stat()
                digest.update(f"{path} {stat.st_size} {stat.st_mtime_ns}\n".encode())
        return digest.hexdigest()


def plan(
    folder: Path,
    dataset: Dataset,
    name: str,
    full: Callable[[int, int], bool],
    extra: int = 0,
    left_out: Collection[str] = (),
) -> list[PlannedShard]:
    """Deal a dataset's objects to shards: those of one split together, in an order drawn by their ids.

    Args:
        folder: of the dataset.
        dataset: the same, checked.
        name: the shards' files begin with it.
        full: whether a shard of so many objects and bytes takes no more.
        extra: bytes of a view's latents.
        left_out: ids of objects that are not packed.

    Raises:
        DatasetError: a frame names a file that is missing.
    """
    shards: list[PlannedShard] = []
    for split, objects in dataset.splits().items():
        ids = {index: id_ for index in objects if (id_ := dataset.record(index).id) not in left_out}
        drawn = sorted(ids, key=lambda index: hashlib.sha256(ids[index].encode()).digest())
        for samples in _filled((_sample(folder, ids[index], index, extra) for index in drawn), full):
            shards.append(PlannedShard(f"{name}-{len(shards):06d}.tar", split, samples))
    return shards


def _filled(samples: Iterator[Sample], full: Callable[[int, int], bool]) -> Iterator[tuple[Sample, ...]]:
    held: list[Sample] = []
    total = 0
    for sample in samples:
        if held and full(len(held) + 1, total + sample.bytes):
            yield tuple(held)
            held, total = [], 0
        held.append(sample)
        total += sample.bytes
    if held:
        yield tuple(held)


def _sample(folder: Path, id_: str, index: int, extra: int) -> Sample:
    here = folder / "objects" / id_
    record = here / RECORD
    pictures, others = [], []
    for number, frame in enumerate(read_json(record)["frames"]):
        for key, file in sorted(frame.items()):
            if key == "file_path":
                pictures.append((f"{number:03d}{Path(file).suffix.lower()}", here / file))
            elif key.endswith("_file_path"):
                kind = key.removesuffix("_file_path")
                others.append((f"{number:03d}.{kind}{Path(file).suffix.lower()}", here / file))
    total = len(pictures) * extra
    for path in (record, *(path for _, path in (*pictures, *others))):
        if not path.is_file():
            raise DatasetError(f"{path}: no such file, but {record} names it; render the object again or restore it")
        total += BLOCK + -(-path.stat().st_size // BLOCK) * BLOCK
    return Sample(index, record, tuple(pictures), tuple(others), total)
