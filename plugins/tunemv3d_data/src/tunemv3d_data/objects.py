"""One object that can be rendered, whatever it comes from, and what its catalogue knows of it."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.files import Files, Folder, digest, open_archive


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
    def source(self) -> str:
        """Where it comes from, as the dataset states it."""
        return f"{self.origin}: {self.name}"

    def files(self) -> tuple[Files, str]:
        """Return the files among which the mesh and what it refers to are read, and the mesh's name there.

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
    """Make a folder name of lower-case letters, digits and hyphens; a hash where the text has none."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return name or hashlib.sha256(text.encode()).hexdigest()[:12]


def source_digest(source: SourceObject) -> str:
    """Hash (sha256) an object's mesh, materials and textures as they are in the source.

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
