"""Damage to files, drawn by hypothesis: what somebody might write in place of a value, a number, a name or a byte."""

import copy
import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

CANARY = "canary.secret"
"""File outside the folder of a case, which nothing may open."""

Draw = Callable[[st.SearchStrategy[Any]], Any]

NUMBERS = [
    0,
    -1,
    1,
    2**31,
    2**63,
    -(2**63),
    10**18,
    0.5,
    -0.0,
    1e-320,
    1e38,
    1e308,
    float("nan"),
    float("inf"),
    10**400,
]
TEXTS = [
    *(
        "",
        " ",
        ".",
        "..",
        "x" * 5_000,
        "a\0b",
        "\x1b[2J\x1b]0;title\x07",
        "a\nerror: pip install other",
        "\u202egnp.exe",
    ),
    *(f"../{CANARY}", f"../../{CANARY}", f"..\\..\\{CANARY}", "/etc/passwd", "C:\\x", "~nouser/x", "con", "a/" * 3_000),
    *("os:system", "__import__", "neus", "diffusers", "tunemv3d-neus", "NaN", "1e999", "%s{0}", "<script>", "😀" * 200),
]
BLOCKS: list[Any] = [
    [],
    {},
    [[]],
    {"type": "neus"},
    {"type": 3},
    [None] * 3,
    list(range(1000)),
    {"": ""},
    {"a": {"b": []}},
]

_values = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(NUMBERS),
    st.sampled_from(TEXTS),
    st.sampled_from(BLOCKS),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=40),
    st.integers(1, 200).map(lambda depth: _nested(depth)),
)


def _nested(depth: int) -> Any:
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    if len(path) > 20:
        return found
    if isinstance(value, dict):
        found += [each for key, inner in value.items() for each in _paths(inner, (*path, key))]
    elif isinstance(value, list):
        found += [each for index, inner in enumerate(value[:50]) for each in _paths(inner, (*path, index))]
    return found


def _changed(draw: Draw, content: Any) -> Any:
    """Change one place of a document: its value, its key, or whether it is there."""
    path = draw(st.sampled_from(_paths(content)))
    if not path:
        return copy.deepcopy(draw(_values)) if draw(st.integers(0, 9)) == 0 else content
    block = content
    for step in path[:-1]:
        block = block[step]
    key, kind = path[-1], draw(st.sampled_from(("value", "value", "value", "remove", "rename", "double")))
    if kind == "value":
        block[key] = copy.deepcopy(draw(_values))
    elif kind == "remove":
        del block[key]
    elif isinstance(block, dict):
        block[draw(st.sampled_from(TEXTS) | st.text(max_size=12))] = (
            copy.deepcopy(block[key]) if kind == "double" else block.pop(key)
        )
    else:
        block.insert(key, copy.deepcopy(block[key]))
    return content


def _dumped(value: Any) -> str:
    """JSON of any depth: the standard library's own writer follows a few hundred blocks."""
    try:
        return json.dumps(value)
    except (RecursionError, ValueError):
        return "[" * 3_000 + "]" * 3_000


@st.composite
def documents(draw: Draw, content: Any) -> bytes:
    """A document with one to four changes, and sometimes another text than JSON's writer makes."""
    changed = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, 4))):
        changed = _changed(draw, changed)
    text = _dumped(changed)
    kind = draw(st.integers(0, 11))
    if kind == 0:
        at = draw(st.integers(0, max(len(text) - 1, 0)))
        text = (
            text[:at]
            + draw(st.sampled_from(["NaN", "1e999", "9" * 5_000, '"\\ud800"', '"a":', "{", "]", ",", "//"]))
            + text[at:]
        )
    elif kind == 1 and text.startswith("{") and len(text) > 2:
        text = text[:-1] + "," + text[1:]  # every key twice
    elif kind == 2:
        text = "[" * draw(st.integers(1, 100_000)) + text
    data = text.encode("utf-8", "surrogatepass")
    if kind == 3:
        data = draw(
            st.sampled_from([data.decode("utf-8", "replace").encode("utf-16"), b"\xef\xbb\xbf" + data, b"\xff" + data])
        )
    return draw(damaged(data)) if kind == 4 else data


@st.composite
def damaged(draw: Draw, data: bytes) -> bytes:
    """Bytes of which some are cut off, turned over, replaced by extreme numbers, doubled or put in."""
    found = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(found)))
        kind = draw(st.sampled_from(("flip", "number", "cut", "insert", "zero", "double")))
        if kind == "flip" and at < len(found):
            found[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "number":
            number = draw(
                st.sampled_from([0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1])
            )
            size = draw(st.sampled_from([1, 2, 4, 8]))
            found[at : at + size] = (number % 256**size).to_bytes(size, draw(st.sampled_from(["little", "big"])))
        elif kind == "cut":
            del found[at:]
        elif kind == "insert":
            found[at:at] = draw(st.binary(max_size=64))
        elif kind == "zero":
            found[at : at + 512] = bytes(len(found[at : at + 512]))
        else:
            found[at:at] = found[at : at + draw(st.integers(1, 2_048))]
    return bytes(found)


@st.composite
def tensor_files(draw: Draw, data: bytes) -> bytes:
    """A safetensors file with a changed header, or damaged anywhere."""
    if draw(st.booleans()):
        return draw(damaged(data))
    (length,) = struct.unpack_from("<Q", data)
    header = draw(documents(json.loads(data[8 : 8 + length])))
    stated = draw(st.sampled_from([len(header), len(header), len(header), 0, 2**40, 2**63]))
    return struct.pack("<Q", stated) + header + data[8 + length :]


@st.composite
def glbs(draw: Draw, data: bytes) -> bytes:
    """A GLB with changed JSON, or damaged anywhere."""
    if draw(st.integers(0, 2)) == 0:
        return draw(damaged(data))
    length = int.from_bytes(data[12:16], "little")
    text = draw(documents(json.loads(data[20 : 20 + length])))
    text += b" " * (-len(text) % 4)
    rest = data[20 + length :]
    return b"glTF" + struct.pack("<III4s", 2, 20 + len(text) + len(rest), len(text), b"JSON") + text + rest


@st.composite
def pngs(draw: Draw, data: bytes) -> bytes:
    """A PNG with changed chunks whose checksums are right, or damaged anywhere."""
    if draw(st.integers(0, 2)) == 0:
        return draw(damaged(data))
    chunks, at = [], 8
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    index = draw(st.integers(0, len(chunks) - 1))
    kind, body = chunks[index]
    chunks[index] = (draw(st.sampled_from([kind, kind, b"tEXt", b"acTL", b"PLTE", b"iCCP"])), draw(damaged(body)))
    if draw(st.booleans()):
        chunks.insert(index, draw(st.sampled_from(chunks)))
    made = [struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks]
    return data[:8] + b"".join(made)


@st.composite
def lines(draw: Draw, data: bytes) -> bytes:
    """A file of text with changed words, or damaged anywhere."""
    if draw(st.integers(0, 2)) == 0:
        return draw(damaged(data))
    rows = [row.split(b" ") for row in data.split(b"\n")]
    for _ in range(draw(st.integers(1, 4))):
        row = rows[draw(st.integers(0, len(rows) - 1))]
        word = str(draw(st.sampled_from(NUMBERS) | st.sampled_from(TEXTS))).encode("utf-8", "surrogatepass")
        row[draw(st.integers(0, len(row) - 1))] = word
        if draw(st.integers(0, 5)) == 0:
            rows.insert(0, row * draw(st.integers(1, 200)))
    return b"\n".join(b" ".join(row) for row in rows)
