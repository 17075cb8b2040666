"""Objects that can be rendered, whatever they come from: Sweet Home 3D libraries or a folder of mesh files."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.licences import matches

MESH_SUFFIXES = (".obj", ".glb", ".ply", ".stl", ".off")
CHAIRS = re.compile(r"\b(chair|armchair|stool|wheelchair|puff)\b", re.IGNORECASE)
NOT_CHAIRS = re.compile(r"\b(sofa|couch|bench|table|lounge)\b", re.IGNORECASE)
BUILT_IN = ("Doors and windows", "Staircases")


@dataclass(frozen=True)
class SourceObject:
    """One object and what its catalogue knows of it.

    Attributes:
        id: unique in its source; a folder name.
        path: the mesh file, or the .sh3f library that holds it.
        member: the mesh's name inside the library, None for a plain file.
        name, tags, category: the catalogue's words.
        creator, licence, origin: for the attribution; the licence is SPDX-like, origin names the library.
        rotation: row by row, applied to the y-up mesh; None for none.
        height: in centimetres where known.
        given: captions that come with the object.
        problem: why it cannot be rendered; empty where nothing is known to be wrong.
    """

    id: str
    path: Path
    member: str | None = None
    name: str = ""
    tags: tuple[str, ...] = ()
    category: str = ""
    creator: str = ""
    licence: str = ""
    origin: str = ""
    rotation: tuple[float, ...] | None = None
    height: float | None = None
    given: tuple[str, ...] = ()
    problem: str = ""

    @property
    def is_chair(self) -> bool:
        """A chair, armchair or stool by name or tags, and neither sofa nor bench nor table."""
        return bool(CHAIRS.search(" ".join((self.name, *self.tags)))) and not NOT_CHAIRS.search(self.name)


def slug(text: str) -> str:
    """A folder name made of lower-case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def source_digest(source: SourceObject) -> str:
    """sha256 of the mesh file or member.

    Raises:
        DatasetError: it cannot be read.
    """
    from tunemv3d_data.sources.sweethome import open_library

    try:
        if source.member is None:
            return hashlib.sha256(source.path.read_bytes()).hexdigest()
        with open_library(source.path) as archive:
            return hashlib.sha256(archive.read(source.member)).hexdigest()
    except (OSError, KeyError) as error:
        raise DatasetError(f"{source.path}: cannot be read: {error}") from None


def by_licence(objects: Sequence[SourceObject], text: str) -> tuple[list[SourceObject], Counter[str]]:
    """The objects under one of the licences in ``text`` ("cc0,cc-by"), and how many of which licence are left out.

    Raises:
        DatasetError: there is none.
    """
    wanted = [word.strip() for word in text.split(",") if word.strip()]
    kept = [entry for entry in objects if matches(entry.licence, wanted)]
    if not kept:
        raise DatasetError(f"--licence {text}: no object of the source fits")
    return kept, Counter(entry.licence for entry in objects if not matches(entry.licence, wanted))


def read_sources(path: Path, captions: Path | None = None, up: Literal["y", "z"] | None = None) -> list[SourceObject]:
    """List the objects of a .sh3f library, of a folder of libraries, or of a folder of mesh files.

    Raises:
        DatasetError: nothing there, nothing readable, or two objects that would share a folder.
    """
    from tunemv3d_data.sources.sweethome import read_library

    if not path.exists():
        raise DatasetError(f"{path}: no such file or folder")
    libraries = [path] if path.suffix.lower() == ".sh3f" else sorted(path.glob("*.sh3f"))
    if libraries:
        objects = [entry for library in libraries for entry in read_library(library)]
    else:
        objects = _mesh_files(path)
    if not objects:
        raise DatasetError(f"{path}: neither .sh3f libraries nor meshes ({', '.join(MESH_SUFFIXES)}) here")
    ids = [entry.id for entry in objects]
    if twice := sorted({id_ for id_ in ids if ids.count(id_) > 1}):
        raise DatasetError(f"{path}: several objects are called {', '.join(twice[:3])}; rename or separate them")
    return objects


def _mesh_files(path: Path) -> list[SourceObject]:
    if path.is_file():
        files, root = ([path] if path.suffix.lower() in MESH_SUFFIXES else []), path.parent
    else:
        files, root = sorted(p for p in path.rglob("*") if p.suffix.lower() in MESH_SUFFIXES), path
    return [
        SourceObject(id=slug(str(file.relative_to(root).with_suffix(""))), path=file, name=file.stem, origin=file.name)
        for file in files
    ]


def select(objects: Sequence[SourceObject], which: str) -> list[SourceObject]:
    """Choose objects: "chairs", "all" (but doors, windows and stairs), or a file with one id a line (# comments).

    Raises:
        DatasetError: an id that the source does not have, or no object left.
    """
    if which == "chairs":
        chosen = [entry for entry in objects if entry.is_chair]
    elif which == "all":
        chosen = [entry for entry in objects if entry.category not in BUILT_IN]
    else:
        known = {entry.id: entry for entry in objects}
        wanted = read_ids(Path(which))
        if missing := [id_ for id_ in wanted if id_ not in known]:
            raise DatasetError(f"{which}: the source has no object {missing[0]!r} ({len(missing)} such ids)")
        chosen = [known[id_] for id_ in wanted]
    if not chosen:
        raise DatasetError(f"--select {which}: no object of the source fits")
    return chosen


def read_ids(path: Path) -> list[str]:
    """Ids from a text file, one a line; everything after # is a comment."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot read ids: {error}") from None
    return [word for line in lines if (word := line.split("#")[0].strip())]
