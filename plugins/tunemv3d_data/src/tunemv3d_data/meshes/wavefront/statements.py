"""The lines of an OBJ file by what they say."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.notes import Kind, note

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
        unknown: numbers and first words of the lines that make no sense.
    """

    text: str
    rows: dict[str, list[str]] = field(default_factory=lambda: {"v": [], "vt": [], "vn": [], "f": []})
    uses: list[tuple[int, int, str]] = field(default_factory=list)
    libraries: list[str] = field(default_factory=list)
    unshown: Counter[str] = field(default_factory=Counter)
    unknown: list[tuple[int, str]] = field(default_factory=list)

    def keys(self) -> Iterator[tuple[str, str]]:
        """Yield the first word and the rest of every line."""
        for block in _blocks(self.text):
            for line in block.split("\n"):
                key, _, rest = line.partition(" ")
                if not key or key == "fo":  # an indented line, or the old name of a face
                    key, _, rest = line.strip().partition(" ")
                    key = "f" if key == "fo" else key
                yield key, rest

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
    said, number = Statements(text), 0
    append = {key: rows.append for key, rows in said.rows.items()}.get
    for block in _blocks(text):
        for line in block.split("\n"):
            number += 1
            key, _, rest = line.partition(" ")
            if add := append(key):
                add(rest)
            elif line and line[0] != "#":
                _other(said, line.strip(), number)
    if len(said.unknown) > sum(map(len, said.rows.values())):
        number, key = said.unknown[0]
        raise DatasetError(f"is no OBJ file: line {number} begins with {key[:40]!r}")
    _note(said)
    return said


def _other(said: Statements, line: str, number: int) -> None:
    """Sort a line that is no vertex and no face, or is indented."""
    key, _, rest = line.partition(" ")
    key = "f" if key == "fo" else key  # an old name
    if key in said.rows:
        said.rows[key].append(rest)
    elif key == "usemtl":
        said.uses.append((len(said.rows["f"]), len(said.libraries), rest.strip()))
    elif key == "mtllib":
        said.libraries.append(rest.strip())
    elif key in _UNSHOWN:
        said.unshown[_UNSHOWN[key]] += 1
    elif key not in _PASSED_OVER and key[0] != "#":
        said.unknown.append((number, key))


def _blocks(text: str) -> Iterator[str]:
    """A text in blocks of whole lines: a list of all its lines would be much larger than the text."""
    start = 0
    while start < len(text):
        stop = text.find("\n", start + _BLOCK)
        stop = len(text) if stop < 0 else stop
        yield text[start:stop]
        start = stop + 1


def _note(said: Statements) -> None:
    if said.unshown:
        kind: Kind = "no surface" if said.unshown.keys() <= {"line", "point"} else "changed shape"
        note(kind, f"{listed(said.unshown)} not shown: only polygons are")
    if said.unknown:
        number, key = said.unknown[0]
        note(
            "other",
            f"{len(said.unknown)} lines make no sense and are passed over, the first is line {number}: {key[:40]}",
        )
    if "\n#MRGB" in said.text:
        note("changed colours", "the colours of ZBrush (#MRGB) are not read; export colours of vertices instead")


def listed(unshown: Counter[str]) -> str:
    """Count things in words, such as "2 lines and 1 point"."""
    return " and ".join(f"{count:,} {name}{'s' if count > 1 else ''}" for name, count in unshown.items())
