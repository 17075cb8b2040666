"""Captions that others wrote, from a CSV by the names of its columns.

Two are read as they are published: Text2Shape's for ShapeNet (arXiv 1803.08495, ``captions.tablechair.csv`` with the
columns ``id, modelId, description, category, topLevelSynsetId, subSynsetId``) and Cap3D's for Objaverse
(arXiv 2306.07279, ``Cap3D_automated_Objaverse_full.csv``: ids and captions without a head).
"""

import codecs
import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.objects import slug

_IDS = ("modelid", "model_id", "uid", "id")
"""Columns that may hold the ids, the surest first: Text2Shape's ``id`` numbers the lines."""
_CAPTIONS = ("caption", "description")
_SYNSET = "toplevelsynsetid"


@dataclass(frozen=True)
class CaptionTable:
    """Captions by id; an object may have several.

    Attributes:
        path: the file.
        by_id: captions by the ``slug`` of their id.
        models: for ShapeNet's objects, whose ids here begin with their synset, the slug of the model alone.
    """

    path: Path
    by_id: dict[str, tuple[str, ...]]
    models: dict[str, str]

    def of(self, id_: str) -> tuple[str, ...]:
        """Return an object's captions, () where the table has none."""
        return self.by_id.get(self._key(id_), ())

    def coverage(self, ids: Iterable[str]) -> str:
        """Say how many of the objects have captions here, and how many of the table's ids are of no object."""
        wanted = {self._key(id_) for id_ in ids}
        found = len(wanted & self.by_id.keys())
        return (
            f"{self.path}: captions for {found:,} of {len(wanted):,} objects; {len(self.by_id) - found:,} of its "
            f"{len(self.by_id):,} ids are of no object here"
        )

    def _key(self, id_: str) -> str:
        key = slug(id_)
        return self.models.get(key, key)


def read_captions(path: Path) -> CaptionTable:
    """Read captions from a CSV in UTF-8 or UTF-16: by the columns that its head names, else lines "id,caption".

    Raises:
        DatasetError: not readable, a head without ids or captions, or a line that does not fit; names it.
    """
    rows = _rows(path)
    head = [cell.lower() for cell in rows[0][1]] if rows else []
    columns = _columns(path, head)
    captions: dict[str, list[str]] = {}
    models: dict[str, str] = {}
    for number, cells in rows[1 if columns else 0 :]:
        expected = len(head) if columns else 2
        id_, caption, synset = (
            (cells[at] if at is not None and at < len(cells) else "") for at in columns or (0, 1, None)
        )
        if len(cells) != expected or not id_:
            form = f"{expected} columns" if columns else "'id,caption'"
            raise DatasetError(f"{path}:{number}: expected {form} with an id (a caption with commas in quotes)")
        if synset:
            models[slug(f"{synset.zfill(8)}-{id_}")] = slug(id_)
        if caption:
            captions.setdefault(slug(id_), []).append(caption)
    return CaptionTable(path, {id_: tuple(dict.fromkeys(said)) for id_, said in captions.items()}, models)


def _columns(path: Path, head: Sequence[str]) -> tuple[int, int, int | None] | None:
    """Places of id, caption and synset; None where the first line is no head.

    Raises:
        DatasetError: the head names only one of id and caption.
    """
    id_, caption = (next((head.index(name) for name in names if name in head), None) for names in (_IDS, _CAPTIONS))
    if id_ is None and caption is None:
        return None
    if id_ is None or caption is None:
        raise DatasetError(
            f"{path}:1: the columns {', '.join(head)} hold no {'ids' if id_ is None else 'captions'}; name one of them "
            f"{' or '.join(_IDS if id_ is None else _CAPTIONS)}"
        )
    return id_, caption, head.index(_SYNSET) if _SYNSET in head else None


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Lines that are not empty, with their numbers in the file."""
    try:
        content = path.read_bytes()
        wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        reader = csv.reader(io.StringIO(content.decode("utf-16" if wide else "utf-8-sig"), newline=""), strict=True)
        filled = ((reader.line_num, [" ".join(cell.split()) for cell in row]) for row in reader)
        return [(number, cells) for number, cells in filled if any(cells)]
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not UTF-8 ({error}); save the table as UTF-8") from None
    except csv.Error as error:
        raise DatasetError(
            f"{path}:{reader.line_num}: no CSV: {error}; a quote in a caption is written twice"
        ) from None
    except OSError as error:
        raise DatasetError(f"{path}: cannot read captions: {error}") from None
