"""Sweet Home 3D furniture libraries (.sh3f): zips of OBJ meshes, textures and a catalogue of properties.

The format is documented with the Furniture Library Editor: ISO-8859-1 text with Unicode escapes,
one ``key#number=value`` per line.
"""

import math
import posixpath
import re
from pathlib import Path

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.files import open_archive
from tunemv3d_data.licences import spdx
from tunemv3d_data.objects import SourceObject, slug

CATALOGUE = "PluginFurnitureCatalog.properties"
_LINE = re.compile(r"(\w+)(?:#(\d+))?\s*=\s*(.*)")
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")


def read_library(path: Path) -> list[SourceObject]:
    """List the catalogue's objects, in its order.

    Raises:
        DatasetError: not a readable archive, or one without a catalogue.
    """
    archive = open_archive(path)
    if CATALOGUE not in archive.names:
        raise DatasetError(f"{path}: no {CATALOGUE} inside; is it a Sweet Home 3D furniture library?")
    text = archive.read(CATALOGUE).decode("latin-1")
    library: dict[str, str] = {}
    entries: dict[int, dict[str, str]] = {}
    for line in text.splitlines():
        if line.startswith("#") or not (match := _LINE.match(line.strip())):
            continue
        key, number, value = match.groups()
        value = _ESCAPE.sub(lambda m: chr(int(m[1], 16)), value)
        (entries.setdefault(int(number), {}) if number else library)[key] = value
    return [_object(path, library, entry) for _, entry in sorted(entries.items()) if "model" in entry]


def _object(path: Path, library: dict[str, str], entry: dict[str, str]) -> SourceObject:
    try:
        rotation, height, problem = _numbers(entry, "modelRotation"), _numbers(entry, "height"), ""
    except ValueError as error:
        rotation, height, problem = (), (), f"{path}: {CATALOGUE}, model {entry['model']}: {error}"
    return SourceObject(
        id=slug(entry.get("id", posixpath.splitext(entry["model"])[0])),
        path=path,
        member=entry["model"].lstrip("/"),
        name=entry.get("name", ""),
        tags=tuple(tag.strip() for tag in entry.get("tags", "").split(",") if tag.strip()),
        category=entry.get("category", ""),
        creator=entry.get("creator", library.get("provider", "")),
        licence=_licence(library.get("license", "")),
        origin=f"Sweet Home 3D furniture library {library.get('name', path.stem)} {library.get('version', '')}".strip(),
        rotation=rotation if len(rotation) == 9 else None,
        height=height[0] if height else None,
        problem=problem,
    )


def _numbers(entry: dict[str, str], key: str) -> tuple[float, ...]:
    """Read the numbers of an entry, () if it has none.

    Raises:
        ValueError: they are none, or not finite; names the key.
    """
    text = entry.get(key, "")
    try:
        found = tuple(map(float, text.split()))
    except ValueError:
        found = (math.nan,)
    if not all(map(math.isfinite, found)):
        raise ValueError(f"{key} is {text!r}, not numbers; mend the catalogue")
    return found


def _licence(text: str) -> str:
    """Name a licence: by "Public domain" the libraries mean CC0, as their names say."""
    return "CC0-1.0" if text == "Public domain" else spdx(text)
