"""The corners of OBJ faces: indices of vertices, texture coordinates and normals, counted from 1 or from behind."""

import re
import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.meshes.wavefront.statements import Statements
from tunemv3d_data.notes import Kind, note

Indices = NDArray[np.int64]
_DIGITS = b"0123456789-+"
_CORNER = re.compile(r"([-+]?\d+)(?:/([-+]?\d*))?(?:/([-+]?\d*))?")
_KINDS = {"v": "vertex", "vt": "texture coordinate", "vn": "normal"}


def read_corners(said: Statements) -> tuple[Indices, Indices]:
    """Read the faces of a file.

    Returns:
        corners: ``c 3``, from 1, of vertex, texture coordinate and normal of each face's corners; 0 for none.
        counts: ``f``, corners of each face.

    Raises:
        DatasetError: a corner makes no sense, or its vertex does not exist; names the line.
    """
    rows = said.rows["f"]
    if any("#" in row for row in rows):
        rows = [row.partition("#")[0] for row in rows]
    counts = np.array([len(row.split()) for row in rows], dtype=np.int64)
    corners = _uniform(rows, int(counts.sum()))
    if corners is None:
        corners = _mixed(rows, counts, said)
    if (corners < 0).any():
        _count_from_behind(corners, counts, said)
    _check(corners, counts, said)
    return corners, counts


def _uniform(rows: Sequence[str], count: int) -> Indices | None:
    """Corners that are all written alike, as "1", "1/2", "1//3" or "1/2/3"; None if they are not."""
    joined = " ".join(rows)
    if "  " in joined or joined[:1] == " " or joined[-1:] == " ":
        joined = " ".join(joined.split())
    if not joined.isascii():
        return None
    slashes = joined.encode().translate(None, _DIGITS) + b" "
    pattern = slashes[: slashes.index(b" ") + 1]
    if slashes != pattern * count or pattern.strip() not in (b"", b"/", b"//"):
        return None
    given = 1 + pattern.count(b"/")
    if "//" in joined:
        if joined.count("//") != count:
            return None
        joined, given = joined.replace("//", "/"), 2
    found = _integers(joined.replace("/", " "))
    if found is None or len(found) != given * count:
        return None
    corners = np.zeros((count, 3), dtype=np.int64)
    columns = [0, 2] if pattern == b"// " and given == 2 else list(range(given))
    corners[:, columns] = found.reshape(count, given)
    return corners


def _integers(text: str) -> Indices | None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return np.fromstring(text, sep=" ", dtype=np.int64)
        except (ValueError, DeprecationWarning):
            return None


def _mixed(rows: Sequence[str], counts: Indices, said: Statements) -> Indices:
    """Corners of faces that are not all written alike: those like "1/2" together, then those like "1//3", and so on."""
    groups: dict[tuple[int, bool], list[int]] = {}
    for index, row in enumerate(rows):
        first = row.split(maxsplit=1)[0] if counts[index] else ""
        groups.setdefault((first.count("/"), "//" in first), []).append(index)
    corners = np.zeros((counts.sum(), 3), dtype=np.int64)
    group_of = np.empty(len(rows), dtype=np.int64)
    for number, indices in enumerate(groups.values()):
        group_of[indices] = number
    group_of = np.repeat(group_of, counts)
    for number, indices in enumerate(groups.values()):
        found = _uniform([rows[index] for index in indices], int(counts[indices].sum()))
        corners[group_of == number] = _any(rows, indices, said) if found is None else found
    return corners


def _any(rows: Sequence[str], indices: Sequence[int], said: Statements) -> Indices:
    """Corners in any way of writing, one after the other."""
    corners = []
    for index in indices:
        for word in rows[index].split():
            match = _CORNER.fullmatch(word)
            if not match or max(map(len, word.split("/"))) > 18:
                raise DatasetError(f"line {said.line_of('f', index)}: {word[:40]!r} is no corner of a face")
            corners.append([int(part) if part and part not in "+-" else 0 for part in match.groups()])
    return np.array(corners, dtype=np.int64).reshape(-1, 3)


def _count_from_behind(corners: Indices, counts: Indices, said: Statements) -> None:
    """Negative indices count from the last that is known where the face stands, which is -1."""
    known, before = dict.fromkeys(_KINDS, 0), []
    for key, _ in said.keys():
        if key in known:
            known[key] += 1
        elif key == "f":
            before.append(tuple(known.values()))
    behind = np.repeat(np.array(before, dtype=np.int64), counts, axis=0)
    negative = corners < 0
    corners[negative] += behind[negative] + 1
    if negative.any() and (corners[negative] < 1).any():
        corner, column = np.argwhere(negative & (corners < 1))[0]
        line = _line(said, counts, corner)
        raise DatasetError(f"line {line}: a face counts back to before the first {list(_KINDS.values())[column]}")


def _check(corners: Indices, counts: Indices, said: Statements) -> None:
    """Refuse faces of vertices that do not exist; texture coordinates and normals that do not are left out."""
    for column, (key, name) in enumerate(_KINDS.items()):
        there = len(said.rows[key])
        missing = corners[:, column] > there
        if column == 0:
            missing |= corners[:, 0] < 1
            if missing.any():
                corner = int(missing.argmax())
                where = f"line {_line(said, counts, corner)}: a face lacks its vertex"
                raise DatasetError(f"{where} {corners[corner, 0]}; the file has {there:,}")
        elif missing.any():
            corners[missing, column] = 0
            kind: Kind = "no normals" if key == "vn" else "changed colours"
            note(kind, f"{missing.sum():,} corners of faces name a {name} that the file lacks")


def _line(said: Statements, counts: Indices, corner: int) -> int:
    return said.line_of("f", int(np.searchsorted(np.cumsum(counts), corner, side="right")))
