"""Sweet Home 3D furniture libraries (.sh3f): zips of OBJ meshes, textures and a catalogue of properties.

The format is documented with the Furniture Library Editor: ISO-8859-1 text with Unicode escapes,
one ``key#number=value`` a line.
"""

import io
import posixpath
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trimesh
from trimesh.resolvers import Resolver

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.sources.objects import SourceObject, slug

CATALOGUE = "PluginFurnitureCatalog.properties"
_LINE = re.compile(r"(\w+)(?:#(\d+))?\s*=\s*(.*)")
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")


def read_library(path: Path) -> list[SourceObject]:
    """The catalogue's objects, in its order.

    Raises:
        DatasetError: not a zip, no catalogue, or a member whose name leaves the library.
    """
    with open_library(path) as archive:
        try:
            text = archive.read(CATALOGUE).decode("latin-1")
        except KeyError:
            raise DatasetError(f"{path}: no {CATALOGUE} inside; is it a Sweet Home 3D furniture library?") from None
    library: dict[str, str] = {}
    entries: dict[int, dict[str, str]] = {}
    for line in text.splitlines():
        if line.startswith("#") or not (match := _LINE.match(line.strip())):
            continue
        key, number, value = match.groups()
        value = _ESCAPE.sub(lambda m: chr(int(m[1], 16)), value)
        (entries.setdefault(int(number), {}) if number else library)[key] = value
    return [_object(path, library, entry) for _, entry in sorted(entries.items()) if "model" in entry]


@contextmanager
def open_library(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a library and refuse members that would leave a folder into which somebody unpacks it."""
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{path}: not a readable .sh3f library: {error}") from None
    with archive:
        for name in archive.namelist():
            _inside(path, name)
        yield archive


def load_member(path: Path, member: str) -> trimesh.Trimesh | trimesh.Scene:
    """Load one mesh of a library with its materials and textures, without unpacking anything."""
    with open_library(path) as archive:
        content = io.BytesIO(_read(path, archive, member))
        resolver = _MemberResolver(path, archive, posixpath.dirname(member))
        return trimesh.load(content, file_type=Path(member).suffix[1:].lower(), resolver=resolver, process=False)


class _MemberResolver(Resolver):  # type: ignore[misc]
    """Finds a mesh's materials and textures beside it in the archive, and nowhere else."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, folder: str) -> None:
        self.path, self.archive, self.folder = path, archive, folder

    def get(self, name: str) -> bytes:
        inside = posixpath.join(self.folder, name.strip().replace("\\", "/"))
        return _read(self.path, self.archive, _inside(self.path, posixpath.normpath(inside)))

    def keys(self) -> list[str]:
        return self.archive.namelist()

    def namespaced(self, namespace: str) -> "_MemberResolver":
        return _MemberResolver(self.path, self.archive, posixpath.join(self.folder, namespace))

    def write(self, name: str, data: bytes) -> None:
        raise DatasetError(f"{self.path}: libraries are only read")


def _inside(path: Path, member: str) -> str:
    parts = member.replace("\\", "/").split("/")
    if member.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
        raise DatasetError(f"{path}: the member {member!r} leaves the library; refused")
    return member


def _read(path: Path, archive: zipfile.ZipFile, member: str) -> bytes:
    try:
        return archive.read(member)
    except KeyError:
        raise DatasetError(f"{path}: no member {member!r}") from None


def _object(path: Path, library: dict[str, str], entry: dict[str, str]) -> SourceObject:
    rotation = tuple(float(v) for v in entry.get("modelRotation", "").split())
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
        height=float(entry["height"]) if "height" in entry else None,
    )


def _licence(text: str) -> str:
    """The library's licence as an SPDX identifier where its words are known, else its words."""
    if "Public domain" in text:
        return "CC0-1.0"
    if "Creative Commons Attribution 3.0" in text:
        return "CC-BY-3.0-US" if "United States" in text else "CC-BY-3.0"
    return text
