"""Files and folders that appear whole or not at all: they are written beside their place and renamed into it.

What must survive a power cut is asked to be ``durable``: its bytes are on the disk before it is renamed, and its new
name before the call returns.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
        if durable:
            _sync(beside)
        put_in_place(beside, path)
        if durable:
            _sync(path.parent)
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
        beside.mkdir(parents=True)
        yield beside
        if durable:
            for path in (*beside.rglob("*"), beside):
                _sync(path)
        if replace:
            shutil.rmtree(old, ignore_errors=True)
            if folder.exists():
                put_in_place(folder, old)
        put_in_place(beside, folder)
        if durable:
            _sync(folder.parent)
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


def _sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    if os.name == "nt" and path.is_dir():  # Windows opens no folders, and keeps renames by its journal
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def put_in_place(beside: Path, path: Path) -> None:
    """Rename a complete file or folder to its place on the same disk: readers see the old one or the new one."""
    os.replace(beside, path)


def write_text(path: Path, text: str, durable: bool = False) -> None:
    """Write a UTF-8 text file whole or not at all."""
    with atomic_file(path, durable=durable) as beside:
        beside.write_text(text, encoding="utf-8", newline="\n")
