"""The lines of an OBJ file by what they say."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.notes import note

_CONTINUED = re.compile(r"^([ \t]*(?:vt|vn|v|f|l|p)[ \t][^\n#]*)\\[ \t]*\n", re.MULTILINE)
_PASSED_OVER = {
    *("", "g", "o", "s", "mg", "lod", "bevel", "c_interp", "d_interp", "shadow_obj", "trace_obj", "usemap", "maplib"),
    *("vp", "cstype", "deg", "bmat", "step", "parm", "trim", "hole", "scrv", "sp", "end", "con", "ctech", "stech"),
}
"""Groups, names and the inner lines of free-form surfaces: nothing that is shown depends on them alone."""
_UNSHOWN = {
    **{"l": "line", "p": "point", "curv": "curve", "curv2": "curve", "surf": "free-form surface"},
    **{"call": "call of another file", "csh": "call of a program"},
}
_BLOCK = 1 << 22


@dataclass
class Statements:
    """What the lines of a file say, each kind in its order.

    Attributes:
        text: of the file, continued lines joined.
        rows: the texts behind "v", "vt", "vn" and "f".
        uses: of each "usemtl" the number of faces and of "mtllib" lines before it, and the name.
        libraries: the texts behind "mtllib".
        unshown: how often there is what is not shown.
    """

    text: str
    rows: dict[str, list[str]] = field(default_factory=lambda: {"v": [], "vt": [], "vn": [], "f": []})
    uses: list[tuple[int, int, str]] = field(default_factory=list)
    libraries: list[str] = field(default_factory=list)
    unshown: Counter[str] = field(default_factory=Counter)

    def keys(self) -> Iterator[tuple[str, str]]:
        """Yield the first word and the rest of every line."""
        for line in _lines(self.text):
            key, _, rest = line.partition(" ")
            if not key:
                key, _, rest = line.strip().partition(" ")
            yield ("f" if key == "fo" else key), rest

    def line_of(self, key: str, row: int) -> int:
        """Return the number of a row's line, from 1."""
        found = (number for number, (other, _) in enumerate(self.keys(), 1) if other == key)
        return next(number for index, number in enumerate(found) if index == row)


def statements(text: str) -> Statements:
    """Sort a file's lines; those that are not shown or make no sense are noted.

    Raises:
        DatasetError: most lines make no sense: it is no OBJ file.
    """
    text = text.replace("\t", " ")
    while "\\" in text:
        text, joined = _CONTINUED.subn(r"\1 ", text)
        if not joined:
            break
    said, unknown = Statements(text), []
    append = {key: rows.append for key, rows in said.rows.items()}.get
    faces = said.rows["f"]
    for number, (key, rest) in enumerate(said.keys(), 1):
        if add := append(key):
            add(rest)
        elif key == "usemtl":
            said.uses.append((len(faces), len(said.libraries), rest.strip()))
        elif key == "mtllib":
            said.libraries.append(rest.strip())
        elif key in _UNSHOWN:
            said.unshown[_UNSHOWN[key]] += 1
        elif key not in _PASSED_OVER and key[0] != "#":
            unknown.append((number, key))
    if len(unknown) > sum(map(len, said.rows.values())):
        raise DatasetError(f"is no OBJ file: line {unknown[0][0]} begins with {unknown[0][1][:40]!r}")
    _note(said, unknown)
    return said


def _lines(text: str) -> Iterator[str]:
    """The lines of a text, without a list of all of them at once."""
    start = 0
    while start < len(text):
        stop = text.find("\n", start + _BLOCK)
        stop = len(text) if stop < 0 else stop
        yield from text[start:stop].split("\n")
        start = stop + 1


def _note(said: Statements, unknown: list[tuple[int, str]]) -> None:
    if said.unshown:
        note("changed shape", f"{listed(said.unshown)} not shown: only polygons are")
    if unknown:
        number, key = unknown[0]
        note("other", f"{len(unknown)} lines make no sense and are passed over, the first is line {number}: {key[:40]}")
    if "\n#MRGB" in said.text:
        note("changed colours", "the colours of ZBrush (#MRGB) are not read; export colours of vertices instead")


def listed(unshown: Counter[str]) -> str:
    """Count things in words, such as "2 lines and 1 point"."""
    return " and ".join(f"{count:,} {name}{'s' if count > 1 else ''}" for name, count in unshown.items())
