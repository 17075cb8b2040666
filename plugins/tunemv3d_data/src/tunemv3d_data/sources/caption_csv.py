"""Captions that others wrote, from a CSV of ids and captions such as Cap3D's (arXiv 2306.07279)."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.sources.objects import SourceObject, slug


def with_captions(objects: Sequence[SourceObject], table: Path) -> list[SourceObject]:
    """Add captions to the objects that the table names in its first column; it needs no header.

    Raises:
        DatasetError: the table cannot be read, or names none of the objects.
    """
    known = {entry.id for entry in objects}
    found: dict[str, list[str]] = {}
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            for row in csv.reader(file):
                if len(row) > 1 and row[1].strip() and (id_ := slug(row[0])) in known:
                    found.setdefault(id_, []).append(row[1].strip())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{table}: cannot be read: {error}") from None
    if not found:
        raise DatasetError(
            f"{table}: names none of the objects; a row is an id, such as {objects[0].id}, and a caption"
        )
    return [replace(entry, given=(*entry.given, *found.get(entry.id, ()))) for entry in objects]
