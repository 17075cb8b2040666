"""The elements of a PLY file: its header, and the columns of numbers behind it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.notes import note
from tunemv3d_data.text import listed_numbers, spaced_numbers

_TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4"},
    **{"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4", "float32": "f4"},
    **{"double": "f8", "float64": "f8", "int64": "i8", "uint64": "u8", "float16": "f2"},
}
_FORMATS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
_END = re.compile(rb"^[ \t]*end_header[ \t]*\r?\n", re.MULTILINE)
_TEXTURE = re.compile(r"\s*comment\s+texturefile\s*:?\s*(.+)", re.IGNORECASE)


@dataclass(frozen=True)
class Property:
    """A property as the header describes it: the type of its values, and of the count before them if it is a list."""

    name: str
    type: str
    count_type: str = ""


@dataclass(frozen=True)
class Element:
    """An element's columns.

    Attributes:
        properties: by name, as in the header.
        columns: one value for each row.
        lists: the values of all rows one after the other, and how many each row has.
    """

    count: int
    properties: dict[str, Property]
    columns: dict[str, NDArray[np.generic]] = field(default_factory=dict)
    lists: dict[str, tuple[NDArray[np.generic], NDArray[np.int64]]] = field(default_factory=dict)


def read_elements(data: bytes) -> tuple[dict[str, Element], list[str]]:
    """Read a PLY file.

    Returns:
        elements: by name.
        textures: the names of the files that its comments say are its textures.

    Raises:
        DatasetError: it is none, its header makes no sense, or it is cut off.
    """
    end = _END.search(data)
    lines = data[: end.start() if end else 0].decode("latin-1").replace("\r", "\n").split("\n")
    if not end or lines[0].strip().lower() != "ply":
        raise DatasetError("is no PLY file: it lacks its first line, ply, or end_header")
    order, elements, textures = _header([line for line in lines[1:] if line.strip()])
    body = memoryview(data)[end.end() :]
    if order == "":
        body = memoryview(_text(data[end.end() :].decode("latin-1"), data[: end.end()].count(b"\n")))
    at = 0
    for name, element in elements.items():
        at = _read(name, element, body, at, order)
    if at < len(body):
        what = f"{(len(body) - at) // 8:,} numbers" if order == "" else f"{len(body) - at:,} bytes"
        note("other", f"{what} behind its last element are not read")
    return elements, textures


def _header(lines: Sequence[str]) -> tuple[str, dict[str, Element], list[str]]:
    order, elements, textures = None, dict[str, Element](), list[str]()
    for line in lines:
        words = line.split()
        if match := _TEXTURE.match(line):
            textures.append(match[1].strip().strip('"'))
        elif words[0] == "format" and len(words) > 1:
            order = _FORMATS.get(words[1])
        elif words[0] == "element" and len(words) == 3 and words[2].isdecimal():
            elements[words[1]] = Element(int(words[2]), {})
        elif words[0] == "property" and elements:
            found = _property(words, line)
            list(elements.values())[-1].properties[found.name] = found
        elif words[0] not in ("comment", "obj_info"):
            note("other", f"a line of its header makes no sense and is passed over: {line[:60]}")
    if order is None:
        raise DatasetError(f"its header names no format of {', '.join(_FORMATS)}")
    return order, elements, textures


def _property(words: Sequence[str], line: str) -> Property:
    types = words[1:-1] if words[1:2] != ["list"] else words[2:-1]
    if len(types) != (1 if words[1:2] != ["list"] else 2) or not all(word in _TYPES for word in types):
        raise DatasetError(f"its header has a property of no known type: {line[:60]!r}")
    kinds = [_TYPES[word] for word in types]
    return Property(words[-1], kinds[-1], kinds[0] if len(kinds) == 2 else "")


def _text(body: str, lines_before: int) -> bytes:
    """The numbers of a text as bytes of 64-bit floating-point numbers."""
    found = spaced_numbers(body)
    if found is None:
        rows = body.split("\n")
        found = listed_numbers(rows, lambda row: lines_before + row + 1)[0]
    return found.tobytes()


def _read(name: str, element: Element, body: memoryview, at: int, order: str) -> int:
    """Fill an element from the bytes at a place; returns the place behind it."""
    properties = list(element.properties.values())
    types = {entry.name: np.dtype("f8" if order == "" else order + entry.type) for entry in properties}
    counts = {e.name: np.dtype("f8" if order == "" else order + e.count_type) for e in properties if e.count_type}
    smallest = sum(counts.get(entry.name, types[entry.name]).itemsize for entry in properties)
    if element.count * smallest > len(body) - at:
        raise DatasetError(f"is cut off: its {element.count:,} elements {name} do not fit into it")
    if not element.count or not properties:
        return at
    fixed = _fixed(element, body, at, types, counts)
    if fixed is not None:
        return at + element.count * fixed
    return _varied(name, element, body, at, types, counts)


def _fixed(
    element: Element, body: memoryview, at: int, types: dict[str, np.dtype[Any]], counts: dict[str, np.dtype[Any]]
) -> int | None:
    """Read rows that are all as long as the first one; returns their size, None if they are not."""
    fields: list[tuple[Any, ...]] = []
    place = at
    for name, kind in types.items():
        if name in counts:
            if place + counts[name].itemsize > len(body):
                return None
            length = int(np.nan_to_num(np.frombuffer(body, counts[name], 1, place)[0], nan=-1))
            if not 0 <= length <= len(body):
                return None
            fields += [(f"{name} count", counts[name]), (name, kind, (length,))]
            place += counts[name].itemsize + length * kind.itemsize
        else:
            fields.append((name, kind))
            place += kind.itemsize
    if element.count * (place - at) > len(body) - at:
        return None
    rows = np.frombuffer(body, np.dtype(fields), element.count, at)
    if any((rows[f"{name} count"] != rows[f"{name} count"][0]).any() for name in counts):
        return None
    for name in types:
        if name in counts:
            element.lists[name] = (rows[name].reshape(-1), rows[f"{name} count"].astype(np.int64))
        else:
            element.columns[name] = rows[name]
    return place - at


def _varied(
    name: str,
    element: Element,
    body: memoryview,
    at: int,
    types: dict[str, np.dtype[Any]],
    counts: dict[str, np.dtype[Any]],
) -> int:
    """Read rows of various lengths: first where every value lies, then the values."""
    places = {key: np.zeros(element.count, dtype=np.int64) for key in types}
    lengths = {key: np.zeros(element.count, dtype=np.int64) for key in counts}
    sizes = [(key, kind.itemsize, counts.get(key)) for key, kind in types.items()]
    for row in range(element.count):
        for key, size, count in sizes:
            if count is None:
                places[key][row], at = at, at + size
                continue
            if at + count.itemsize > len(body):
                raise DatasetError(f"is cut off in its element {name}, row {row + 1:,}")
            length = float(np.frombuffer(body, count, 1, at)[0])
            at += count.itemsize
            if not 0 <= length * size <= len(body) - at:
                raise DatasetError(f"is cut off or damaged in its element {name}, row {row + 1:,}")
            places[key][row], lengths[key][row], at = at, int(length), at + int(length) * size
    if at > len(body):
        raise DatasetError(f"is cut off in its element {name}")
    bytes_ = np.frombuffer(body, np.uint8)
    for key, kind in types.items():
        if key in counts:
            within = np.arange(lengths[key].sum()) - np.repeat(np.cumsum(lengths[key]) - lengths[key], lengths[key])
            starts = np.repeat(places[key], lengths[key]) + within * kind.itemsize
        else:
            starts = places[key]
        found = bytes_[starts[:, None] + np.arange(kind.itemsize)].reshape(-1).view(kind)
        if key in counts:
            element.lists[key] = (found, lengths[key])
        else:
            element.columns[key] = found
    return at
