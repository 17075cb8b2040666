"""Objects that can be rendered, whatever they come from: mesh folders, archives, and the layouts of collections.

Each layout is a module here with ``fits(path)`` and ``read(path)``; a new one is a file and its name in ``LAYOUTS``.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Literal

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.licences import matches
from tunemv3d_data.sources.files import Files, Folder, digest, open_archive

LAYOUTS = ("shapenet", "objaverse", "folder")
"""In the order in which they are tried; the last takes any folder or file."""

CHAIRS = re.compile(r"\b(chair|armchair|stool|wheelchair|puff)\b", re.IGNORECASE)
NOT_CHAIRS = re.compile(r"\b(sofa|couch|bench|table|lounge)\b", re.IGNORECASE)
BUILT_IN = ("Doors and windows", "Staircases")


@dataclass(frozen=True)
class SourceObject:
    """One object and what its catalogue knows of it.

    Attributes:
        id: unique in its source; a folder name.
        path: the mesh file, or the archive that holds it.
        member: the mesh's name inside the archive, None for a plain file.
        root: for a plain file, the folder whose materials and textures it may use; None for the file's own.
        name, tags, category: the catalogue's words.
        kind: what it is in a common word, where the collection classifies its objects (a synset, an LVIS category).
        creator, licence, origin: for the attribution; the licence is SPDX where known, origin names the collection.
        up: the axis that points up in the file, where it is not its format's usual one.
        rotation: row by row, applied to the y-up mesh; None for none.
        height: in centimetres where known.
        given: captions that come with the object.
        problem: why it cannot be rendered; empty where nothing is known to be wrong.
    """

    id: str
    path: Path
    member: str | None = None
    root: Path | None = None
    name: str = ""
    tags: tuple[str, ...] = ()
    category: str = ""
    kind: str = ""
    creator: str = ""
    licence: str = ""
    origin: str = ""
    up: Literal["y", "z"] | None = None
    rotation: tuple[float, ...] | None = None
    height: float | None = None
    given: tuple[str, ...] = ()
    problem: str = ""

    @property
    def is_chair(self) -> bool:
        """A chair, armchair or stool by name or tags, and neither sofa nor bench nor table."""
        return bool(CHAIRS.search(" ".join((self.name, *self.tags)))) and not NOT_CHAIRS.search(self.name)

    def files(self) -> tuple[Files, str]:
        """Where the mesh and what it refers to are read, and the mesh's name there.

        Raises:
            DatasetError: it cannot be read, which was known beforehand or is found now.
        """
        if self.problem:
            raise DatasetError(self.problem)
        if self.member is not None:
            return open_archive(self.path), self.member
        root = self.root or self.path.parent
        return Folder(root), self.path.relative_to(root).as_posix()


def slug(text: str) -> str:
    """A folder name made of lower-case letters, digits and hyphens; a hash where the text has none."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return name or hashlib.sha256(text.encode()).hexdigest()[:12]


def read_sources(path: Path, captions: Path | None = None, up: Literal["y", "z"] | None = None) -> list[SourceObject]:
    """List the objects of a collection in one of the ``LAYOUTS``.

    What cannot be rendered is listed too, with its ``problem``.

    Args:
        path: a folder or a file.
        captions: a CSV of ids and captions, several rows an object if need be, as Cap3D publishes.
        up: the axis that points up in the meshes, where it is not their formats' usual one.

    Raises:
        DatasetError: nothing there, or nothing that can be rendered.
    """
    if not path.exists():
        raise DatasetError(f"{path}: no such file or folder")
    layouts = (import_module(f"tunemv3d_data.sources.{name}") for name in LAYOUTS)
    layout = next(layout for layout in layouts if layout.fits(path))
    objects: list[SourceObject] = distinct(layout.read(path))
    if not objects:
        raise DatasetError(f"{path}: no meshes and no archives of meshes here")
    if all(entry.problem for entry in objects):
        raise DatasetError(objects[0].problem)
    if up is not None:
        objects = [replace(entry, up=up) for entry in objects]
    if captions is not None:
        from tunemv3d_data.sources.caption_csv import with_captions

        objects = with_captions(objects, captions)
    return objects


def source_digest(source: SourceObject) -> str:
    """sha256 of an object's mesh, materials and textures as they are in the source.

    Raises:
        DatasetError: they cannot be read.
    """
    return digest(*source.files())


def distinct(objects: Iterable[SourceObject]) -> list[SourceObject]:
    """Give objects whose ids agree (``box.obj`` and ``box.glb``) ids with their formats, then with numbers."""
    listed = list(objects)
    shared = {id_ for id_, count in Counter(entry.id for entry in listed).items() if count > 1}
    taken: set[str] = {entry.id for entry in listed} - shared
    for place, entry in enumerate(listed):
        if entry.id in shared:
            suffix = Path(entry.member or entry.path.name).suffix[1:].lower()
            name, number = f"{entry.id}-{suffix}".strip("-"), 2
            while name in taken:
                name, number = f"{entry.id}-{suffix}-{number}", number + 1
            taken.add(name)
            listed[place] = replace(entry, id=name)
    return listed


def by_licence(objects: Sequence[SourceObject], text: str) -> tuple[list[SourceObject], Counter[str]]:
    """The objects under one of the licences in ``text`` ("cc0,cc-by"), and how many of which licence are left out.

    Objects whose licence is not known are left out, counted under "".

    Raises:
        DatasetError: there is none.
    """
    wanted = [word.strip() for word in text.split(",") if word.strip()]
    kept = [entry for entry in objects if matches(entry.licence, wanted)]
    left_out = Counter(entry.licence for entry in objects if not matches(entry.licence, wanted))
    if not kept:
        there = ", ".join(f"{licence or 'not stated'} ({count})" for licence, count in left_out.most_common(6))
        raise DatasetError(f"--licence {text}: no object of the source fits; it has {there}")
    return kept, left_out


def select(objects: Sequence[SourceObject], which: str) -> list[SourceObject]:
    """Choose objects: "all", "furniture" (no doors, windows and stairs), "chairs", or a file with one id a line.

    Raises:
        DatasetError: an id that the source does not have, or no object left.
    """
    if which == "chairs":
        chosen = [entry for entry in objects if entry.is_chair]
    elif which == "all":
        chosen = list(objects)
    elif which == "furniture":
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
