"""A folder of mesh files, zips of them and Sweet Home 3D libraries, or a single one of these.

``metadata.csv`` in the folder may say more of its meshes. Its first line names its columns, of which one is ``file``
(a path in the folder) or ``id``, and the others any of name, caption, tags (with commas), category, creator, licence
and source.
"""

import csv
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.json_files import check_plain
from tunemv3d_data.files import open_archive
from tunemv3d_data.formats import BLENDER, OWN, refusal
from tunemv3d_data.licences import spdx
from tunemv3d_data.objects import SourceObject, distinct, slug
from tunemv3d_data.sources.sweethome import read_library

METADATA = "metadata.csv"
_COLUMNS = ("file", "id", "name", "caption", "tags", "category", "creator", "licence", "source")
_ARCHIVES = (".zip", ".sh3f")


def fits(path: Path) -> bool:
    """Accept any folder or file."""
    return True


def read(path: Path) -> list[SourceObject]:
    """List the meshes below a folder, with those in its archives, in the order of their names."""
    root = path if path.is_dir() else path.parent
    files = _files(path) if path.is_dir() else [path]
    objects = distinct(entry for file in files for entry in _objects(file, root))
    table = path / METADATA
    return _with_metadata(objects, table) if table.is_file() else objects


def _files(folder: Path) -> Iterator[Path]:
    """The files below a folder, with links to folders and folders that cannot be read."""
    unreadable: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=lambda error: unreadable.append(Path(error.filename))):
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        links = [name for name in folders if Path(parent, name).is_symlink()]
        yield from (Path(parent, name) for name in (*links, *sorted(names)) if not _is_hidden(name))
    yield from unreadable


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _objects(file: Path, root: Path) -> list[SourceObject]:
    suffix = file.suffix.lower()
    name = str(file.relative_to(root).with_suffix(""))
    whole = SourceObject(id=slug(name), path=file, root=root, name=file.stem, origin=file.name)
    if problem := _unusable(file):
        return [SourceObject(id=slug(name), path=root, problem=problem)]
    if suffix in (*OWN, *BLENDER):
        return [whole]
    if suffix in _ARCHIVES:
        try:
            return read_library(file) if suffix == ".sh3f" else _members(file, name)
        except DatasetError as error:
            return [replace(whole, problem=str(error))]
    reason = refusal(file.name)
    return [replace(whole, problem=f"{file}: {reason}")] if reason else []


def _unusable(file: Path) -> str:
    """Say why a place that ``_files`` gave cannot be looked into; "" if it can."""
    shown = os.fsencode(file).decode("utf-8", "replace")
    if shown != str(file):
        return f"{shown}: its name is not UTF-8; rename it"
    if file.is_dir():
        return f"{file}: " + (
            "a link to a folder, which is not followed; render it by itself"
            if file.is_symlink()
            else "cannot be read; change its permissions"
        )
    return ""


def _members(archive: Path, prefix: str) -> list[SourceObject]:
    objects = []
    for member in open_archive(archive).names:
        path = PurePosixPath(member)
        suffix = path.suffix.lower()
        problem = (
            "cannot be read inside an archive; unpack it" if suffix in (*BLENDER, *_ARCHIVES) else refusal(path.name)
        )
        if any(map(_is_hidden, path.parts)) or not (suffix in OWN or problem):
            continue
        objects.append(
            SourceObject(
                id=slug(f"{prefix} {path.with_suffix('')}"),
                path=archive,
                member=member,
                name=path.stem,
                origin=f"{archive.name}:{member}",
                problem=problem and f"{archive}:{member}: {problem}",
            )
        )
    if not objects:
        raise DatasetError(f"{archive}: no meshes inside")
    return objects


def _with_metadata(objects: list[SourceObject], table: Path) -> list[SourceObject]:
    """Add what the table says; a mesh that is only in the table is listed with its problem.

    Raises:
        DatasetError: the table cannot be read, or has columns that mean nothing here.
    """
    by_file = {entry.path.relative_to(table.parent).as_posix(): entry.id for entry in objects if entry.member is None}
    found = {entry.id: entry for entry in objects}
    for line, row in enumerate(_rows(table), start=2):
        id_ = row.get("id") or by_file.get(row.get("file", "").replace("\\", "/"), slug(row.get("file", "")))
        if id_ not in found:
            problem = f"{table}, line {line}: there is no mesh {row.get('file') or id_}"
            found[id_] = SourceObject(id=slug(id_), path=table, problem=problem)
        found[id_] = replace(
            found[id_],
            name=row.get("name") or found[id_].name,
            given=(row["caption"],) if row.get("caption") else (),
            tags=tuple(tag.strip() for tag in row.get("tags", "").split(",") if tag.strip()),
            category=row.get("category", ""),
            creator=row.get("creator", ""),
            licence=spdx(row.get("licence", "")),
            origin=row.get("source") or found[id_].origin,
        )
    return list(found.values())


def _rows(table: Path) -> list[dict[str, str]]:
    try:
        check_plain(table)
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = [column.strip().lower() for column in reader.fieldnames or ()]
            reader.fieldnames = columns
            rows = [{k: (v or "").strip() for k, v in row.items() if k is not None} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{table}: cannot be read: {error}") from None
    unknown = sorted(set(columns) - set(_COLUMNS))
    if unknown or not {"file", "id"} & set(columns):
        wrong = f"unknown columns {', '.join(unknown)}" if unknown else "neither a column 'file' nor 'id'"
        raise DatasetError(f"{table}: {wrong}; known are {', '.join(_COLUMNS)}")
    return rows
