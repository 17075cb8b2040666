"""Files and folders that appear whole or not at all: they are written beside their place and renamed into it.

What must survive a power cut is asked to be ``durable``: its bytes are on the disk before it is renamed, and its new
name before the call returns.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ABANDONED = 3600
"""Seconds after which a half-written file counts as left by a process that was killed."""


@contextmanager
def atomic_file(path: Path, per_process: bool = False, durable: bool = False) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to, and rename that file to ``path`` at the end.

    An error leaves neither; a file that was at ``path`` before stays. The parent folder must exist when one writes.

    Args:
        path: the file that appears.
        per_process: name the temporary file after this process, where several may write the same file at once.
        durable: whether it must survive a power cut; costs a wait for the disk.

    Raises:
        OSError: the file cannot be renamed, or was not written.
    """
    beside = path.with_name(f"{path.name}.{os.getpid()}.part" if per_process else f"{path.name}.part")
    try:
        yield beside
        put_in_place(beside, path, durable)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path, replace: bool = False, durable: bool = False) -> Iterator[Path]:
    """Yield an empty folder beside ``folder`` to write into, and rename it to ``folder`` at the end.

    An error leaves neither. Leftovers of a killed process are removed first.

    Args:
        folder: the folder that appears.
        replace: whether it may exist; the old one is removed only when the new one stands.
        durable: whether it must survive a power cut; costs a wait for the disk.

    Raises:
        OSError: the folder cannot be made or renamed.
    """
    beside, old = (folder.with_name(folder.name + suffix) for suffix in (".part", ".old"))
    try:
        shutil.rmtree(beside, ignore_errors=True)
        make_folders(folder.parent, durable)
        beside.mkdir()
        yield beside
        if durable:
            _sync_all(beside)
        if replace:
            shutil.rmtree(old, ignore_errors=True)
            if folder.exists():
                put_in_place(folder, old)
        put_in_place(beside, folder)
        if durable:
            sync(folder.parent)
        if replace:
            shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def recover(parent: Path) -> list[Path]:
    """Clear a folder of what killed writes of ``atomic_folder`` left there, and return what was removed or put back.

    An old folder whose successor was not renamed yet comes back under its name. Nobody may be writing there.

    Raises:
        OSError: something cannot be renamed.
    """
    touched = []
    for left in sorted(parent.glob("*.old")):
        place = left.with_suffix("")
        if not place.exists():
            put_in_place(left, place)
            touched.append(place)
    for left in sorted((*parent.glob("*.old"), *parent.glob("*.part"))):
        shutil.rmtree(left) if left.is_dir() else left.unlink()
        touched.append(left)
    return touched


def sweep(folder: Path) -> None:
    """Remove what killed writes of ``atomic_file`` left below a folder where others may be writing now.

    That is half-written files that nobody has touched for an hour.
    """
    for left in folder.rglob("*.part"):
        try:
            if time.time() - left.stat().st_mtime > ABANDONED:
                left.unlink()
        except OSError:  # somebody else was first
            continue


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk.

    Raises:
        OSError: the disk failed.
    """
    if os.name == "nt" and path.is_dir():  # Windows opens no folders, and keeps renames by its journal
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_all(path: Path) -> None:
    """Wait for a file, or for a folder and everything below it."""
    if path.is_dir():
        for below in path.rglob("*"):
            sync(below)
    sync(path)


def make_folders(path: Path, durable: bool = False) -> None:
    """Make a folder and those above it that are missing.

    Args:
        path: the folder; may exist.
        durable: whether their names must survive a power cut, with all that is put into them later.

    Raises:
        OSError: it cannot be made, or is a file.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in reversed(missing) if durable else ():
        sync(folder.parent)


def put_in_place(beside: Path, path: Path, durable: bool = False) -> None:
    """Rename a complete file or folder to its place on the same disk: readers see the old one or the new one.

    Args:
        beside: what is complete.
        path: its place.
        durable: whether it must survive a power cut, with everything below it; costs a wait for the disk.

    Raises:
        OSError: it cannot be renamed.
    """
    if durable:
        _sync_all(beside)
    os.replace(beside, path)
    if durable:
        sync(path.parent)


def write_text(path: Path, text: str, durable: bool = False) -> None:
    """Write a UTF-8 text file whole or not at all."""
    with atomic_file(path, durable=durable) as beside:
        beside.write_text(text, encoding="utf-8", newline="\n")
