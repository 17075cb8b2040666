"""Reading of shards: in place on this machine, else fetched whole into a cache of bounded size."""

import os
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.atomic import atomic_file, sweep
from tunemv3d_core.io.json_files import MAX_LIST_BYTES, read_plain
from tunemv3d_core.io.provenance import sha256
from tunemv3d_core.io.shards import Shard


class Address:
    """Folder that fsspec can reach: a path, file://, memory://, s3://, gs://, https:// ...

    Args:
        address: path or URL of the folder.

    Raises:
        DatasetError: no such protocol, or one whose package is not installed.
    """

    def __init__(self, address: str) -> None:
        self.text = address.rstrip("/")
        try:
            fs, root = url_to_fs(os.path.expanduser(self.text))
        except (ImportError, ValueError) as error:
            raise DatasetError(f"data.path: {address}: {error}") from None
        self._fs: Any = fs
        self._root: str = root
        self.local = Path(root) if isinstance(fs, LocalFileSystem) else None

    def read(self, name: str) -> bytes:
        """Read a whole file.

        Raises:
            DatasetError: it is missing, or the address cannot be reached; names the file.
        """
        if self.local is not None:
            return bytes(self._request(name, lambda path: read_plain(Path(path), MAX_LIST_BYTES)))
        return bytes(self._request(name, self._fs.cat_file))

    def sizes(self) -> dict[str, int]:
        """Return the sizes of the folder's files, by name, as far as the address lists them."""
        try:
            listed = self._fs.ls(self._root, detail=True)
        except Exception:  # many web servers list nothing; what is wrong then shows when a file is fetched
            return {}
        return {entry["name"].rpartition("/")[2]: entry["size"] for entry in listed if entry.get("size") is not None}

    def fetch(self, name: str, path: Path) -> None:
        """Copy a file to this machine.

        Raises:
            DatasetError: as ``read``; or there is no room for it.
        """
        self._request(name, lambda remote: self._fs.get_file(remote, str(path)))

    def _request(self, name: str, request: Any) -> Any:
        try:
            return request(f"{self._root}/{name}")
        except FileNotFoundError:
            raise DatasetError(f"{self.text}/{name}: no such file; see data.path, or pack or upload it again") from None
        except Exception as error:  # every protocol has errors of its own
            raise DatasetError(f"{self.text}/{name}: cannot be read: {type(error).__name__}: {error}") from None


class ShardFiles:
    """Reader of bytes in shards, for any number of threads.

    Args:
        address: folder that holds them.
        shards: all of them.
        cache: folder for shards of another machine; each address has a folder of its own in it.
        limit: bytes that the cache may hold; the shards that were read longest ago are removed.

    Raises:
        DatasetError: a shard is missing or of another size than the index says.
    """

    def __init__(self, address: Address, shards: Sequence[Shard], cache: Path, limit: int) -> None:
        self._address, self._shards, self._limit = address, shards, limit
        self._folder = address.local or cache
        self._locks: dict[int, Lock] = defaultdict(Lock)
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="shards")
        self._expected: set[int] = set()
        self._check_sizes()
        if address.local is None:
            sweep(cache)

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """Read some bytes of a shard.

        Raises:
            DatasetError: they cannot be read; names the shard.
        """
        path = self._folder / self._shards[shard].file
        if self._address.local is None:
            with self._locks[shard]:
                self._fetch(shard, path)
                return _read(path, offset, size)
        return _read(path, offset, size)

    def expect(self, shard: int) -> None:
        """Begin to fetch a shard that will be read soon."""
        if self._address.local is None and shard not in self._expected:
            self._expected.add(shard)
            self._ahead.submit(self._fetch_quietly, shard)

    def _fetch_quietly(self, shard: int) -> None:
        # An error is raised where the shard is read.
        with suppress(DatasetError), self._locks[shard]:
            self._fetch(shard, self._folder / self._shards[shard].file)
        self._expected.discard(shard)

    def _fetch(self, shard: int, path: Path) -> None:
        """Put a shard into the cache, as the one that was used last."""
        if path.exists():
            os.utime(path)
            return
        wanted = self._shards[shard]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(path, per_process=True) as beside:
                self._address.fetch(wanted.file, beside)
                self._check(wanted, beside)
        except OSError as error:
            raise DatasetError(f"data.cache: {path} cannot be written: {error}; make room or set data.cache") from None
        self._make_room(path)

    def _check(self, wanted: Shard, path: Path) -> None:
        where = f"{self._address.text}/{wanted.file}"
        if path.stat().st_size != wanted.bytes:
            raise DatasetError(f"{where}: {path.stat().st_size} bytes, the index says {wanted.bytes}; upload it again")
        if sha256(path) != wanted.sha256:
            raise DatasetError(f"{where}: its sha256 is not the index's; upload the shard and its index again")

    def _make_room(self, newest: Path) -> None:
        files = sorted(newest.parent.glob("*.tar"), key=lambda file: file.stat().st_mtime_ns)
        total = sum(file.stat().st_size for file in files)
        for file in files:
            if total <= self._limit or file == newest:
                break
            total -= file.stat().st_size
            file.unlink(missing_ok=True)

    def _check_sizes(self) -> None:
        known = self._address.sizes()
        for shard in self._shards if known else ():
            where = f"{self._address.text}/{shard.file}"
            if shard.file not in known:
                raise DatasetError(f"{where}: the shard is missing; restore it, or pack the dataset again")
            if known[shard.file] != shard.bytes:
                raise DatasetError(
                    f"{where}: {known[shard.file]} bytes, but shards.json says {shard.bytes}: cut or changed; copy the "
                    "shard again, or pack the dataset again"
                )


def _read(path: Path, offset: int, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(size)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error}; restore the shard") from None
