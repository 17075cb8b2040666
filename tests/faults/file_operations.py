"""A layer between a process and the disk: counts every operation that changes a folder, and lets one of them fail.

Python's own ways to files are covered, and safetensors' writer, which is replaced by one that writes the same bytes
through them. ``power_cut.replay`` of a whole log must give the folder byte for byte: that tells what the layer misses.
"""

import builtins
import errno
import io
import os
import pickle
import shutil
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

Event = tuple[Any, ...]
"""("open", handle, path, truncated), ("write", handle, offset, bytes), ("truncate", handle, size), ("sync", path),
("rename", from, to), ("unlink", path), ("mkdir", path), ("rmdir", path), ("told", text)."""

GROWS = ("open", "write", "mkdir")
"""Operations that need room on the disk."""

KILLED = 137


class Layer:
    """Operations below a folder.

    Args:
        root: the folder; its parent exists.
        kill_at: number of the operation, from 0, before which the process dies.
        torn: whether a write that it dies at is half done.
        full_at: number of the operation from which on there is no room.
        log: file that the events are written to at the end.
    """

    def __init__(self, root: str, kill_at: int = -1, torn: bool = False, full_at: int = -1, log: str = "") -> None:
        self.root, self.kill_at, self.torn, self.full_at, self.log = os.path.realpath(root), kill_at, torn, full_at, log
        self.events: list[Event] = []
        self.count = 0
        self.handles = 0
        self._lock = threading.Lock()

    def inside(self, path: Any) -> str | None:
        """Return the absolute path of something in the folder."""
        full = os.path.realpath(os.path.dirname(os.path.abspath(os.fsdecode(path))))
        full = os.path.join(full, os.path.basename(os.path.abspath(os.fsdecode(path))))
        return full if full == self.root or full.startswith(self.root + os.sep) else None

    def happens(self, event: Event, half: Callable[[], object] = lambda: None) -> None:
        """Count an operation that is about to be done; die or fail here if it is time."""
        with self._lock:
            number, self.count = self.count, self.count + 1
            if number == self.kill_at:
                if self.torn:
                    half()
                os._exit(KILLED)
            if 0 <= self.full_at <= number and event[0] in GROWS:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.events.append(event)

    def tell(self, text: str) -> None:
        """Note that a person was told something; no operation."""
        self.events.append(("told", text))

    def save(self) -> None:
        """Write the log."""
        if self.log:
            with _plain_open(self.log, "wb") as file:
                pickle.dump(self.events, file)


_plain_open = io.open


class WatchedFile(io.FileIO):
    """A file whose writes are operations."""

    def __init__(self, layer: Layer, path: str, mode: str, opener: Any = None) -> None:
        self.layer = layer
        with layer._lock:
            self.handle, layer.handles = layer.handles, layer.handles + 1
        truncated = "w" in mode
        layer.happens(("open", self.handle, path, truncated))
        super().__init__(path, mode, opener=opener)

    def write(self, data: Any) -> int:
        content = bytes(data)
        end = os.lseek(self.fileno(), 0, os.SEEK_END) if "a" in self.mode else self.tell()
        half = content[: len(content) // 2]
        self.layer.happens(("write", self.handle, end, content), lambda: super(WatchedFile, self).write(half))
        return super().write(data)

    def truncate(self, size: int | None = None) -> int:
        at = self.tell() if size is None else size
        self.layer.happens(("truncate", self.handle, at))
        return super().truncate(at)


def install(layer: Layer) -> None:
    """Put the layer into this process, for good."""
    _install_open(layer)
    _install_descriptors(layer)
    _install_names(layer)
    _install_safetensors()


def _install_open(layer: Layer) -> None:
    def opened(
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> Any:
        path = None if isinstance(file, int) or not set(mode) & set("wax+") else layer.inside(file)
        if path is None:
            return _plain_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        raw = WatchedFile(layer, path, mode.replace("b", "").replace("t", ""), opener)
        if buffering == 0:
            return raw
        buffer = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffer if "b" in mode else io.TextIOWrapper(buffer, encoding or "utf-8", errors, newline)

    builtins.open = io.open = tarfile.bltn_open = opened  # type: ignore[attr-defined]
    shutil._USE_CP_SENDFILE = False  # type: ignore[attr-defined]


def _install_descriptors(layer: Layer) -> None:
    plain_open, plain_fsync = os.open, os.fsync

    def opened(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        full = layer.inside(_joined(path, dir_fd)) if flags & (os.O_CREAT | os.O_TRUNC) else None
        if full is not None:
            with layer._lock:
                handle, layer.handles = layer.handles, layer.handles + 1
            layer.happens(("open", handle, full, bool(flags & os.O_TRUNC)))
        return plain_open(path, flags, mode, dir_fd=dir_fd)

    def fsync(descriptor: Any) -> None:
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        named = os.readlink(f"/proc/self/fd/{number}")
        path = named if named == os.path.dirname(layer.root) else layer.inside(named)
        if path is not None:
            layer.happens(("sync", path))
        plain_fsync(number)

    os.open, os.fsync = opened, fsync


def _install_names(layer: Layer) -> None:
    plain = {name: getattr(os, name) for name in ("replace", "rename", "unlink", "remove", "mkdir", "rmdir")}

    def moved(name: str) -> Callable[..., None]:
        def move(source: Any, target: Any, **place: Any) -> None:
            paths = (layer.inside(source), layer.inside(target))
            if all(paths) and os.path.lexists(source):
                layer.happens(("rename", *paths))
            plain[name](source, target, **place)

        return move

    def changed(name: str, kind: str) -> Callable[..., None]:
        def change(path: Any, *rest: Any, dir_fd: int | None = None, **more: Any) -> None:
            joined = _joined(path, dir_fd)
            full = layer.inside(joined)
            # What fails anyway changes nothing.
            possible = os.path.isdir(os.path.dirname(joined)) and os.path.lexists(joined) == (kind != "mkdir")
            if full is not None and possible:
                layer.happens((kind, full))
            plain[name](path, *rest, dir_fd=dir_fd, **more)

        return change

    os.replace, os.rename = moved("replace"), moved("rename")
    os.unlink = os.remove = changed("unlink", "unlink")
    os.mkdir, os.rmdir = changed("mkdir", "mkdir"), changed("rmdir", "rmdir")


def _install_safetensors() -> None:
    import safetensors.torch

    def serialize_file(tensors: Any, filename: Any, metadata: Any = None) -> None:
        content = safetensors.torch.serialize(tensors, metadata)
        with open(filename, "wb", buffering=0) as file:
            for start in range(0, max(1, len(content)), 4096):
                file.write(content[start : start + 4096])

    safetensors.torch.serialize_file = serialize_file


def _joined(path: Any, dir_fd: int | None) -> Any:
    if dir_fd is None:
        return path
    return Path(os.readlink(f"/proc/self/fd/{dir_fd}")) / os.fsdecode(path)
