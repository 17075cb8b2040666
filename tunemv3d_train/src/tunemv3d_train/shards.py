"""The dataset ``shards``: objects read from tar files as training comes to them (``tunemv3d_core.io.shards``)."""

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.file_names import path_of
from tunemv3d_core.io.json_files import parse_json
from tunemv3d_core.io.opt_out import OptOut
from tunemv3d_core.io.posed_images import ObjectInfo, PosedImages, parse_object
from tunemv3d_core.io.shards import INDEX, ShardIndex, check_index, contents, parse_index
from tunemv3d_core.types import Views
from tunemv3d_train.multiview import decode, posed_views
from tunemv3d_train.shard_files import Address, ShardFiles
from tunemv3d_train.spec import ShardsSpec

HEADS = 128
"""Number of objects whose record and latents are kept: a step asks for each several times."""


def build(spec: ShardsSpec) -> "ShardedImages":
    """Build the dataset that ``spec`` names."""
    listed = OptOut.read(Path(spec.opt_out)) if spec.opt_out else OptOut()
    limit = round(spec.cache_gb * 1e9)
    return ShardedImages(Address(spec.path), Path(spec.cache), limit, spec.window, spec.workers, listed)


@dataclass(frozen=True)
class Head:
    """First run of an object: its record, and its latents ``n c h w`` and alpha ``n h w`` where it has them."""

    record: PosedImages
    latents: Tensor | None
    alpha: Tensor | None


class ShardedImages:
    """Objects in shards (``tunemv3d_core.slots.Streams``).

    Args:
        address: address of the folder with ``shards.json``.
        cache: folder for shards of another machine.
        limit: bytes that the cache may hold.
        window: number of shards whose objects are mixed.
        workers: number of threads that read ahead.
        opt_out: objects that no split has.

    Raises:
        DatasetError: no index, a shard missing or cut, a cache that is too small, or an address that cannot be reached.
            The message names the file.
    """

    def __init__(self, address: Address, cache: Path, limit: int, window: int, workers: int, opt_out: OptOut) -> None:
        self._address, self.workers, self._window = address.text, workers, window
        self._index = _read_index(address)
        if address.local is None:
            _check_cache(limit, (window + 2) * max(shard.bytes for shard in self._index.shards))
        own = path_of(cache) / hashlib.sha256(address.text.encode()).hexdigest()[:16]
        self._files = ShardFiles(address, self._index.shards, own, limit)
        listed = self._index.splits()
        self._splits = {
            split: [i for i in objects if not self._covered(i, opt_out)] for split, objects in listed.items()
        }
        self.opted_out = sum(map(len, listed.values())) - sum(map(len, self._splits.values()))
        train = np.array(self._splits["train"], dtype=np.int64)
        places = self._index.places(train)
        self._train = train[np.lexsort((places[:, 1], places[:, 0]))]
        self._head = lru_cache(maxsize=HEADS)(self._read_head)

    def _covered(self, index: int, opt_out: OptOut) -> bool:
        packed = self._index[index]
        return bool(opt_out.entry_of(packed.id, packed.creator, packed.source))

    def __len__(self) -> int:
        return len(self._index)

    def splits(self) -> dict[str, list[int]]:
        """Return object indices by split, in the dataset's order."""
        return self._splits

    def object_infos(self) -> Sequence[ObjectInfo]:
        """Return a summary of every object by its index."""
        return self._index

    def picture_size(self) -> tuple[int, int]:
        """Return (H, W) of every picture, pixels."""
        return self._index.size

    def record(self, index: int) -> PosedImages:
        """Return the cameras, captions, licence and source of one object.

        Raises:
            DatasetError: its shard cannot be read or is damaged there; names the shard and the object.
        """
        return self._head(index).record

    def views(self, index: int, cameras: list[int]) -> Views:
        """Return some cameras' pictures of one object, batch of one, with its first caption.

        Raises:
            DatasetError: as ``record``.
        """
        record, where = self.record(index), self._where(index)
        try:
            pictures = contents(self._run(index, 1))
        except ValueError as error:
            raise DatasetError(f"{where}: its pictures are no tar file: {error}; pack it again") from None
        if len(pictures) != record.views:
            raise DatasetError(f"{where}: {len(pictures)} pictures for {record.views} cameras; pack it again")
        pixels = [decode(pictures[camera], f"{where}, picture {camera}") for camera in cameras]
        return posed_views(record, cameras, np.stack(pixels))

    def latent_shape(self, key: str) -> tuple[int, int, int] | None:
        """Return (c, h, w) of the latents, or None unless they are of the image encoder of this key."""
        kept = self._index.latents
        return kept.shape if kept is not None and kept.key == key else None

    def latents(self, index: int, cameras: list[int]) -> tuple[Tensor, Tensor]:
        """Return some cameras' latents ``n c h w`` and alpha ``n h w``.

        Raises:
            DatasetError: as ``record``.
        """
        head = self._head(index)
        assert head.latents is not None and head.alpha is not None
        return head.latents[cameras], head.alpha[cameras]

    def order(self, seed: int, epoch: int, rank: int, world: int) -> Sequence[int]:
        """Return one process's training objects of an epoch, shuffled.

        A process keeps to its own stretch of the shards in every epoch, so that it fetches no others. The shards come
        in random order, and each object moves by a random share of the window: about ``window`` shards are read at
        once.
        """
        if not len(self._train):
            raise DatasetError(f"{self._address}: no training objects, all are held out; pack others")
        if len(self._train) < world:
            raise DatasetError(
                f"{self._address}: {len(self._train)} training objects for {world} processes; start fewer"
            )
        own = np.array_split(self._train, world)[rank]
        rng = np.random.default_rng([seed, epoch, rank])
        shards, which = np.unique(self._index.places(own)[:, 0], return_inverse=True)
        place = rng.permutation(len(shards))[which]
        order: list[int] = own[np.argsort(place + self._window * rng.random(len(own)), kind="stable")].tolist()
        return order

    def expect(self, index: int) -> None:
        """Begin to fetch the object's shard if it is not here."""
        self._files.expect(self._index[index].shard)

    def _read_head(self, index: int) -> Head:
        where = self._where(index)
        try:
            record_file, *latents = contents(self._run(index, 0))
            record = parse_object(parse_json(record_file, where), where, self._index[index].id)
            tensors = load(latents[0]) if latents else {}
        except (ValueError, SafetensorError) as error:
            raise DatasetError(f"{where}: not as tunemv3d data pack writes it: {error}; pack it again") from None
        self._check_head(index, record, "latents" in tensors)
        return Head(record, tensors.get("latents"), tensors.get("alpha"))

    def _check_head(self, index: int, record: PosedImages, has_latents: bool) -> None:
        """Refuse an object that is not as the index says, which training relies on."""
        packed = self._index[index]
        indexed = (packed.id, packed.views, self._index.size, self._index.latents is not None)
        found = (record.id, record.views, record.size, has_latents)
        for name, ours, theirs in zip(("id", "views", "size", "latents"), found, indexed, strict=True):
            if ours != theirs:
                differing = f"its {name}: {ours} in the shard, {theirs} in {INDEX}"
                raise DatasetError(
                    f"{self._where(index)}: {differing}; fetch the index again, or pack the dataset again"
                )

    def _run(self, index: int, number: int) -> bytes:
        """Read one run of an object's members, and check it."""
        packed = self._index[index]
        offset = packed.offset + sum(packed.sizes[:number])
        run = self._files.read(packed.shard, offset, packed.sizes[number])
        if zlib.crc32(run) != packed.crc32[number]:
            raise DatasetError(
                f"{self._where(index)}: the shard is damaged there (its checksum differs); copy it again"
            )
        return run

    def _where(self, index: int) -> str:
        packed = self._index[index]
        return f"{self._address}/{self._index.shards[packed.shard].file}: object '{packed.id}'"


def _read_index(address: Address) -> ShardIndex:
    where = f"{address.text}/{INDEX}"
    data = address.read(INDEX)
    check_index(data, where)
    try:
        content = parse_json(data, where)
    except DatasetError as error:
        raise DatasetError(f"{error}; fetch or pack the index again") from None
    return parse_index(content, where)


def _check_cache(limit: int, needed: int) -> None:
    if limit < needed:
        raise DatasetError(
            f"data.cache_gb: {limit / 1e9:g} GB hold fewer shards than are read at once; set at least "
            f"{needed / 1e9:.3g}, or lower data.window"
        )
