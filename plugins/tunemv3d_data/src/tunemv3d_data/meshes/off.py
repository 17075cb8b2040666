"""OFF files of Geomview as text, with colours (COFF) and normals (NOFF) of vertices, and colours of faces."""

import re
from collections.abc import Sequence

import numpy as np

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.meshes.neighbours import Neighbours
from tunemv3d_data.meshes.parts import Part
from tunemv3d_data.meshes.surfaces import Indices, Polygons, Values, painted_part, scaled_colours
from tunemv3d_data.notes import note
from tunemv3d_data.text import decoded, listed_numbers, numbers

_HEADER = re.compile(r"(ST)?(C)?(N)?(4)?(n)?OFF(?![A-Za-z])")


def read_off(data: bytes, neighbours: Neighbours) -> list[Part]:
    """Read an OFF file as one part.

    Args:
        data: the file.
        neighbours: not needed: OFF refers to no files.

    Raises:
        DatasetError: it holds no polygons, is cut off, binary or of other dimensions, or a line makes no sense.
    """
    lines, numbered = [], []
    for line_number, line in enumerate(decoded(data).split("\n"), 1):
        if said := line.partition("#")[0].strip():
            lines.append(said)
            numbered.append(line_number)
    header = _HEADER.match(lines[0]) if lines else None
    flags = header.groups() if header else (None,) * 5
    if header:
        lines[0] = lines[0][header.end() :].strip()
        if lines[0].upper().startswith("BINARY"):
            raise DatasetError("is a binary OFF file, which is not read; save it as text")
        if not lines[0]:
            del lines[0], numbered[0]
    if flags[3] or flags[4]:
        raise DatasetError("is an OFF file of other than three dimensions")
    vertices, faces = _counts(lines, numbered)
    if len(lines) < 1 + vertices + faces:
        raise DatasetError(f"is cut off: {vertices:,} vertices and {faces:,} faces take {1 + vertices + faces:,} lines")
    if len(lines) > 1 + vertices + faces:
        note("other", f"{len(lines) - 1 - vertices - faces:,} lines behind its faces are not read")
    normal = 3 if flags[2] else 0
    points, _ = numbers(lines[1 : 1 + vertices], lambda row: numbered[1 + row], 3 + normal)
    corners, counts, face_colours = _faces(lines[1 + vertices : 1 + vertices + faces], numbered[1 + vertices :])
    return [
        painted_part(
            Polygons(
                points[:, :3],
                corners,
                counts,
                vertex_colours=_vertex_colours(points[:, 3 + normal :], bool(flags[1]), bool(flags[0])),
                face_colours=face_colours,
                vertex_normals=points[:, 3:6] if normal else None,
            )
        )
    ]


def _counts(lines: Sequence[str], numbered: Sequence[int]) -> tuple[int, int]:
    words = lines[0].split() if lines else []
    if not 2 <= len(words) <= 3 or not all(word.isdecimal() for word in words):
        raise DatasetError("is no OFF file: it does not begin with OFF and the numbers of vertices and faces")
    return int(words[0]), int(words[1])


def _vertex_colours(columns: Values, said: bool, has_texture: bool) -> Values | None:
    """Colours behind the places of vertices; programs write them under a plain OFF too."""
    if has_texture:
        note("changed colours", "texture coordinates of an OFF file belong to no texture, and are not read")
        columns = columns[:, :-2]
    if columns.shape[1] < 3:
        if said:
            raise DatasetError("says that its vertices have colours (COFF), and they have none")
        return None
    return scaled_colours(columns[:, :4])


def _faces(rows: Sequence[str], numbered: Sequence[int]) -> tuple[Indices, Indices, Values | None]:
    """Corners and their counts, and colours ``p 4`` of the faces behind them: of three or four numbers."""
    values, lengths = listed_numbers(rows, lambda row: numbered[row])
    starts = np.cumsum(lengths) - lengths
    counts = np.nan_to_num(values[starts], nan=-1).astype(np.int64)
    wrong = (counts != values[starts]) | (counts < 0) | (counts > lengths - 1)
    if wrong.any():
        row = int(wrong.argmax())
        said = f"says that it has {rows[row].split()[0]} corners, and lists {lengths[row] - 1}"
        raise DatasetError(f"line {numbered[row]}: a face {said}")
    place = np.arange(len(values)) - np.repeat(starts, lengths)
    corners = values[(place >= 1) & (place <= np.repeat(counts, lengths))]
    if not np.array_equal(np.floor(corners), corners):
        raise DatasetError("a face names a vertex by what is no whole number")
    behind = lengths - 1 - counts
    if ((behind > 0) & (behind < 3)).any():
        note("changed colours", "colours of faces by their number in a table are not read")
    if not (behind >= 3).any():
        return corners.astype(np.int64), counts, None
    colours = np.full((len(rows), 4), np.nan)
    for column in range(4):
        has = (behind >= 3) & (behind > column)
        colours[has, column] = values[(starts + 1 + counts + column)[has]]
    return corners.astype(np.int64), counts, scaled_colours(colours)
