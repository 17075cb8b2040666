"""Files and folders that appear whole or not at all: they are written beside their place and renamed into it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_file(path: Path, per_process: bool = False) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to, and rename that file to ``path`` at the end.

    An error leaves neither; a file that was at ``path`` before stays. The parent folder must exist when one writes.

    Args:
        path: the file that appears.
        per_process: name the temporary file after this process, where several may write the same file at once.

    Raises:
        OSError: the file cannot be renamed, or was not written.
    """
    beside = path.with_name(f"{path.name}.{os.getpid()}.part" if per_process else f"{path.name}.part")
    try:
        yield beside
        put_in_place(beside, path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path, replace: bool = False) -> Iterator[Path]:
    """Yield an empty folder beside ``folder`` to write into, and rename it to ``folder`` at the end.

    An error leaves neither. Leftovers of a killed process are removed first.

    Args:
        folder: the folder that appears.
        replace: whether it may exist; the old one is removed only when the new one stands.

    Raises:
        OSError: the folder cannot be made or renamed.
    """
    beside, old = (folder.with_name(folder.name + suffix) for suffix in (".part", ".old"))
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        yield beside
        if replace:
            shutil.rmtree(old, ignore_errors=True)
            if folder.exists():
                put_in_place(folder, old)
        put_in_place(beside, folder)
        if replace:
            shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def put_in_place(beside: Path, path: Path) -> None:
    """Rename a complete file or folder to its place on the same disk: readers see the old one or the new one."""
    os.replace(beside, path)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file whole or not at all."""
    with atomic_file(path) as beside:
        beside.write_text(text, encoding="utf-8", newline="\n")
