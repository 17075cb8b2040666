"""Read the objects of a collection: mesh folders, archives, and the layouts of published collections.

Each layout is a module here with ``fits(path)`` and ``read(path)``; a new one is a file and its place in ``LAYOUTS``.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Protocol

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.captions.csv_table import read_captions
from tunemv3d_data.objects import SourceObject, distinct, slug
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
        captions: a CSV of ids and captions, several rows per object if need be, as Cap3D publishes.
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
        objects = _with_captions(objects, captions)
    return objects


def _with_captions(objects: Sequence[SourceObject], table: Path) -> list[SourceObject]:
    """Add the table's captions after those that come with the objects.

    Raises:
        DatasetError: the table cannot be read, or names none of the objects.
    """
    found: dict[str, list[str]] = {}
    for id_, given in read_captions(table).items():
        found.setdefault(slug(id_), []).extend(given)
    if not any(entry.id in found for entry in objects):
        raise DatasetError(
            f"{table}: names none of the objects; a row is an id, such as {objects[0].id}, and a caption"
        )
    return [replace(entry, given=(*entry.given, *found.get(entry.id, ()))) for entry in objects]
