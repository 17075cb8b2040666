"""Datasets as WebDataset shards: plain tar files, one sample per object, and an index that finds any object in them.

A packed dataset is a folder, on disk or behind any address::

    shards.json                  the index: {"format", "name", "size", "latents", "shards", "objects", "sha256"}
    ATTRIBUTION.md               creator, licence and source of every object
    chairs-000000.tar ...        the objects of one split, in random order

An object's members are named after WebDataset's rule, KEY.EXTENSION, and lie in three runs, one after another::

    KEY.transforms.json          its record (``tunemv3d_core.io.posed_images``)
    KEY.latents.safetensors      where packed with latents: "latents" n c h w and "alpha" n h w, float32
    KEY.000.webp ...             its pictures, numbered as the record's frames are
    KEY.000.depth.png ...        whatever else the frames name

The index says where the first run begins, how long each is and what its CRC-32 is, so that one range of bytes holds an
object, and the first run alone what training needs where there are latents. A run is a tar file without an end.
"""

import hashlib
import json
import re
import tarfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np

from tunemv3d_core.errors import DatasetError
from tunemv3d_core.foreign_text import shown
from tunemv3d_core.io.atomic import atomic_file
from tunemv3d_core.io.file_names import is_name
from tunemv3d_core.io.posed_images import ObjectInfo

SHARDS_FORMAT = "tunemv3d-shards/1"
INDEX = "shards.json"
BLOCK = 512
"""Bytes of a tar file's block: each member has a header of one block and fills its last one."""

_CHECKSUM = b', "sha256": "'
_LAST_ENTRY = re.compile(_CHECKSUM + rb'([0-9a-f]{64})"}\s*\Z')
"""What follows is the SHA-256 of all bytes before it; the last entry of the index."""

RECORD, LATENTS = "transforms.json", "latents.safetensors"


@dataclass(frozen=True)
class Shard:
    """Tar file with objects of one split.

    Attributes:
        file: name of the file.
        bytes: its size.
        sha256: hash of the whole file.
    """

    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class PackedObject(ObjectInfo):
    """Object in a shard.

    Attributes:
        split: "train" or "held_out".
        shard: index of its shard.
        offset: byte at which its first run begins.
        sizes: bytes of its three runs.
        crc32: checksums of its three runs.
    """

    split: str
    shard: int
    offset: int
    sizes: tuple[int, int, int]
    crc32: tuple[int, int, int]


@dataclass(frozen=True)
class PackedLatents:
    """Latents that the shards hold.

    Attributes:
        key: ``Backbone.latent_key`` of the image encoder that made them.
        shape: (c, h, w) of a view.
    """

    key: str
    shape: tuple[int, int, int]


class ShardIndex(Sequence[PackedObject]):
    """Index of all objects in the dataset's order, in about 170 bytes each and the text of its source.

    Args:
        name: name of the dataset.
        size: (h, w) of every picture.
        latents: None where the shards hold pictures alone.
        shards: the files.
        objects: in the dataset's order.
    """

    def __init__(
        self,
        name: str,
        size: tuple[int, int],
        latents: PackedLatents | None,
        shards: list[Shard],
        objects: Iterable[PackedObject],
    ) -> None:
        self.name, self.size, self.latents, self.shards = name, size, latents, shards
        self._ids: list[str] = []
        self._sources: list[str] = []
        self._texts: list[tuple[str, str, str]] = []
        shared: dict[tuple[str, str, str], tuple[str, str, str]] = {}
        numbers = array("q")
        for packed in objects:
            self._ids.append(packed.id)
            self._sources.append(packed.source)
            texts = (packed.licence, packed.creator, packed.split)
            self._texts.append(shared.setdefault(texts, texts))
            (a, b, c), (d, e, f) = packed.sizes, packed.crc32
            numbers.extend((packed.views, packed.shard, packed.offset, a, b, c, d, e, f))
        self._numbers = np.frombuffer(numbers, dtype=np.int64).reshape(-1, 9)

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, index: int) -> PackedObject: ...
    @overload
    def __getitem__(self, index: slice) -> list[PackedObject]: ...
    def __getitem__(self, index: int | slice) -> PackedObject | list[PackedObject]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        views, shard, offset, *runs = self._numbers[index].tolist()
        licence, creator, split = self._texts[index]
        sizes, crc32 = (runs[0], runs[1], runs[2]), (runs[3], runs[4], runs[5])
        place = (split, shard, offset, sizes, crc32)
        return PackedObject(self._ids[index], views, licence, creator, *place, source=self._sources[index])

    def splits(self) -> dict[str, list[int]]:
        """Return object indices by split, in the dataset's order."""
        found: dict[str, list[int]] = {"train": [], "held_out": []}
        for index, (_, _, split) in enumerate(self._texts):
            found.setdefault(split, []).append(index)
        return found

    def places(self, objects: np.ndarray) -> np.ndarray:
        """Return (shard, offset) of some objects, ``objects 2``."""
        return self._numbers[objects, 1:3]


def write_index(path: Path, index: ShardIndex) -> None:
    """Write the index, one object per line; an interrupted write leaves no file.

    Raises:
        OSError: it cannot be written.
    """
    head = {
        "format": SHARDS_FORMAT,
        "name": index.name,
        "size": index.size,
        "latents": None if index.latents is None else asdict(index.latents),
        "shards": [asdict(shard) for shard in index.shards],
    }
    digest = hashlib.sha256()
    with atomic_file(path, durable=True) as beside, beside.open("wb") as file:
        for piece in _pieces(head, index):
            digest.update(piece)
            file.write(piece)
        file.write(f'{_CHECKSUM.decode()}{digest.hexdigest()}"}}\n'.encode())


def _pieces(head: dict[str, Any], index: ShardIndex) -> Iterator[bytes]:
    yield (json.dumps(head, ensure_ascii=False)[:-1] + ', "objects": [').encode()
    for place, packed in enumerate(index):
        yield ((",\n" if place else "\n") + json.dumps(asdict(packed), ensure_ascii=False)).encode()
    yield b"\n]"


def check_index(data: bytes, where: Path | str) -> None:
    """Compare the bytes of ``shards.json`` with the checksum at their end. The first indexes have none.

    Raises:
        DatasetError: they are damaged; names the file.
    """
    stated = _LAST_ENTRY.search(data, max(0, len(data) - 100))
    if stated and hashlib.sha256(data[: stated.start()]).hexdigest().encode() != stated[1]:
        raise DatasetError(f"{where}: damaged (its checksum differs); fetch or pack the index again")


def parse_index(content: dict[str, Any], where: Path | str) -> ShardIndex:
    """Check what ``shards.json`` says, and make the index of it.

    Raises:
        DatasetError: another format, a missing key, an object outside its shard; names the file.
    """
    if content.get("format") != SHARDS_FORMAT:
        raise DatasetError(f"{where}: format is '{shown(content.get('format'))}'; this version reads {SHARDS_FORMAT!r}")
    try:
        height, width = map(int, content["size"])
        latents = None
        if content["latents"] is not None:
            c, h, w = map(int, content["latents"]["shape"])
            latents = PackedLatents(str(content["latents"]["key"]), (c, h, w))
        shards = [_shard(**shard) for shard in content["shards"]]
        objects = content["objects"]
        if not objects:
            raise ValueError("lists no objects")
        index = ShardIndex(str(content["name"]), (height, width), latents, shards, map(_object, objects))
    except KeyError as error:
        raise DatasetError(f"{where}: the key {error} is missing; fetch or pack the index again") from None
    except (TypeError, ValueError, OverflowError) as error:
        raise DatasetError(f"{where}: {error}; fetch or pack the index again") from None
    if len({packed.id for packed in index}) < len(index):
        raise DatasetError(f"{where}: lists an object twice; fetch or pack the index again")
    for packed in index:
        is_placed = 0 <= packed.shard < len(shards) and min(packed.offset, *packed.sizes) >= 0
        if not is_placed or packed.offset + sum(packed.sizes) > shards[packed.shard].bytes:
            raise DatasetError(f"{where}: object '{packed.id}' lies outside its shard; fetch or pack the index again")
    return index


def _shard(file: str, bytes: int, sha256: str) -> Shard:
    if not isinstance(file, str) or not is_name(file) or not isinstance(bytes, int) or not isinstance(sha256, str):
        raise ValueError(
            f"a shard is '{shown(file)}' of {shown(bytes)} bytes; should be a file's name and a whole number"
        )
    return Shard(file, bytes, sha256)


def _object(entry: dict[str, Any]) -> PackedObject:
    packed = PackedObject(**entry)
    texts = (packed.id, packed.licence, packed.creator, packed.source, packed.split)
    if not all(isinstance(text, str) for text in texts) or packed.views < 1:
        raise ValueError(f"object '{shown(packed.id)}' has no views, or a text of it is none")
    return packed


def sample_key(id_: str) -> str:
    """Return an object's id as a WebDataset key, which ends at the first dot and has no slash."""
    return id_.replace("%", "%25").replace(".", "%2E").replace("/", "%2F")


def contents(run: bytes) -> list[bytes]:
    """Return a run's members in order.

    With small pictures tarfile would take longer than the disk.

    Raises:
        ValueError: not a run.
    """
    found, at = [], 0
    while at < len(run):
        size, begin = int(run[at + 124 : at + 135], 8), at + BLOCK
        if not 0 <= size <= len(run) - begin:
            raise ValueError(f"a member of {size} bytes does not fit in it")
        # A PAX header only says the long or foreign name of the member after it.
        if run[at + 156 : at + 157] != tarfile.XHDTYPE:
            found.append(run[begin : begin + size])
        at = begin + -(-size // BLOCK) * BLOCK
    return found
