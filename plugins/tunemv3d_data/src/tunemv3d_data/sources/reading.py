"""Read the objects of a collection: mesh folders, archives, and the layouts of published collections.

Each layout is a module here with ``fits(path)`` and ``read(path)``; a new one is a file and its place in ``LAYOUTS``.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Protocol

from tunemv3d_core.console import messages
from tunemv3d_core.errors import DatasetError
from tunemv3d_data.captions.csv_table import CaptionTable, read_captions
from tunemv3d_data.objects import SourceObject, distinct
from tunemv3d_data.sources import folder, objaverse, shapenet


class Layout(Protocol):
    """Interface of a layout's module."""

    def fits(self, path: Path) -> bool:
        """Return whether a collection of this layout lies at ``path``."""
        ...

    def read(self, path: Path) -> Sequence[SourceObject]:
        """List the collection's objects; raises DatasetError."""
        ...


LAYOUTS: tuple[Layout, ...] = (shapenet, objaverse, folder)
"""In the order in which they are tried; the last takes any folder or file."""


def read_sources(path: Path, captions: Path | None = None, up: Literal["y", "z"] | None = None) -> list[SourceObject]:
    """List the objects of a collection in one of the ``LAYOUTS``.

    What cannot be rendered is listed too, with its ``problem``.

    Args:
        path: a folder or a file.
        captions: a CSV of captions, several per object if need be, such as Text2Shape's or Cap3D's.
        up: the axis that points up in the meshes, where it is not their formats' usual one.

    Raises:
        DatasetError: nothing there, or nothing that can be rendered.
    """
    if not path.exists():
        raise DatasetError(f"{path}: no such file or folder")
    layout = next(layout for layout in LAYOUTS if layout.fits(path))
    objects = distinct(layout.read(path))
    if not objects:
        raise DatasetError(f"{path}: no meshes and no archives of meshes here")
    if all(entry.problem for entry in objects):
        raise DatasetError(objects[0].problem)
    if up is not None:
        objects = [replace(entry, up=up) for entry in objects]
    if captions is not None:
        objects = _with_captions(objects, read_captions(captions))
    return objects


def _with_captions(objects: Sequence[SourceObject], table: CaptionTable) -> list[SourceObject]:
    """Add the table's captions after those that come with the objects, and say how far it goes.

    Raises:
        DatasetError: it names none of the objects.
    """
    ids = [entry.id for entry in objects]
    if not any(map(table.of, ids)):
        raise DatasetError(f"{table.path}: names none of the objects; a row is an id, such as {ids[0]}, and a caption")
    messages.print(table.coverage(ids), highlight=False, markup=False, soft_wrap=True)
    return [replace(entry, given=(*entry.given, *table.of(entry.id))) for entry in objects]
