"""Objaverse 1.0 as its ``objaverse`` package downloads it, ``~/.objaverse`` or ``hf-objaverse-v1`` in there.

::

    glbs/000-023/<uid>.glb
    metadata/000-023.json.gz       {uid: {"name", "license", "user", "tags", "categories", "viewerUrl", ...}}
    lvis-annotations.json.gz       {category: [uid, ...]}

The licences are version 4.0 of the Creative Commons ones (https://huggingface.co/datasets/allenai/objaverse).
"""

import gzip
import io
import zlib
from pathlib import Path
from typing import Any

from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.json_files import MAX_LIST_BYTES, parse, read_plain
from tunemv3d_data.licences import spdx
from tunemv3d_data.objects import SourceObject, slug

VERSIONED = "hf-objaverse-v1"


def fits(path: Path) -> bool:
    """Return whether it is a download folder, or the one around it."""
    return _root(path) is not None


def read(path: Path) -> list[SourceObject]:
    """List the objects that were downloaded, with their annotations where those were.

    Raises:
        DatasetError: an annotation file is damaged.
    """
    root = _root(path)
    assert root is not None
    annotations = _json(root / "lvis-annotations.json.gz")
    kinds = {str(uid): name.replace("_", " ") for name, uids in annotations.items() for uid in _listed(uids)}
    objects = []
    for folder in sorted(folder for folder in (root / "glbs").iterdir() if folder.is_dir()):
        known = _json(root / "metadata" / f"{folder.name}.json.gz")
        objects += [_object(file, known.get(file.stem, {}), kinds) for file in sorted(folder.glob("*.glb"))]
    return objects


def _root(path: Path) -> Path | None:
    roots = (path, path / VERSIONED)
    has = ("object-paths.json.gz", "metadata", "lvis-annotations.json.gz")
    return next((r for r in roots if (r / "glbs").is_dir() and any((r / name).exists() for name in has)), None)


def _object(file: Path, known: Any, kinds: dict[str, str]) -> SourceObject:
    known = known if isinstance(known, dict) else {}
    user = known.get("user")
    user = user if isinstance(user, dict) else {}
    place = known.get("viewerUrl") or known.get("uri") or ""
    return SourceObject(
        id=slug(file.stem),
        path=file,
        name=str(known.get("name") or ""),
        tags=_names(known.get("tags")),
        category=next(iter(_names(known.get("categories"))), ""),
        kind=kinds.get(file.stem, ""),
        creator=str(user.get("displayName") or user.get("username") or ""),
        licence=spdx(str(known.get("license") or "")),
        origin=f"Objaverse {file.stem} {place}".strip(),
    )


def _names(entries: Any) -> tuple[str, ...]:
    return tuple(str(entry["name"]) for entry in _listed(entries) if isinstance(entry, dict) and entry.get("name"))


def _listed(entries: Any) -> list[Any]:
    return entries if isinstance(entries, list) else []


def _json(path: Path) -> dict[str, Any]:
    """A compressed JSON object; an empty one where the file was not downloaded."""
    if not path.exists():
        return {}
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(read_plain(path, MAX_LIST_BYTES))) as file:
            content = parse(file.read(MAX_LIST_BYTES))
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DatasetError(f"{path}: damaged: {error}; remove it and download it again") from None
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: a JSON object is expected, not a {type(content).__name__}")
    return content
