"""Strangers' JSON: only plain files, only so large, only what JSON has words for."""

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunemv3d_core.errors import DatasetError, SpecError
from tunemv3d_core.io.json_files import MAX_DEPTH, parse, read_json, read_plain, write_json

ROOT = Path(__file__).parents[2]

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.slow
@given(values)
def test_what_json_can_hold_is_read_as_the_standard_library_reads_it(value: Any) -> None:
    for text in (json.dumps(value), json.dumps(value, indent=1, ensure_ascii=False)):
        assert parse(text) == parse(text.encode()) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"", "line 1, column 1: not JSON: Expecting value"),
        (b'{\n "a": }', "line 2, column 7: not JSON: Expecting value"),
        (b'"\xff"', "not UTF-8 text: byte 1 is 0xff"),
        (b'{"a": [1, {"b": NaN}]}', r"a\.1\.b: NaN is not a finite number"),
        (b'{"a": -1e999}', "a: -Infinity is not a finite number"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "a: an integer of 5000 digits is too large"),
        (b"[9223372036854775808]", "0: an integer of 19 digits is too large"),
        (b'{"a": 1, "b": 2, "a": 3}', "'a' appears twice in one block"),
        (b'{"a": "\\ud800"}', "a: a text holds half of a character"),
        (b'{"\\udc00x": 1}', "a text holds half of a character"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
    ],
)
def test_the_rest_is_refused_with_its_place(text: bytes, told: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=told) as refused:
        parse(text)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 300
    (tmp_path / "a.json").write_bytes(text)
    with pytest.raises(SpecError, match=f"a.json: {told}"):
        read_json(tmp_path / "a.json", SpecError)


def test_bounds_themselves_are_read() -> None:
    assert parse("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert parse("[9223372036854775807, -9223372036854775808]") == [2**63 - 1, -(2**63)]
    assert parse(rb'"\ud83d\ude00"') == "😀"
    assert parse(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


def test_a_repeated_key_among_many_takes_no_longer_than_reading_them() -> None:
    keys = ", ".join(f'"k{i}": {i}' for i in range(60_000))
    begin = time.perf_counter()
    with pytest.raises(ValueError, match="'k59999' appears twice"):
        parse(f'{{{keys}, "k59999": 1}}')
    assert time.perf_counter() - begin < 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such files here")
def test_what_is_no_plain_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    for path in (tmp_path / "pipe.json", Path("/dev/zero")):
        with pytest.raises(DatasetError, match=f"{path}: cannot be read: it is no plain file"):
            read_json(path)
    for path in (tmp_path, tmp_path / ("x" * 5_000), tmp_path / "a\0b", tmp_path / "\ud800"):
        with pytest.raises(DatasetError, match="cannot be read: "):
            read_json(path)
    with pytest.raises(DatasetError, match="no such file"):
        read_json(tmp_path / "nothing.json")


def test_a_file_may_be_as_large_as_its_reader_says(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": "x" * 90})
    size = (tmp_path / "a.json").stat().st_size
    assert len(read_plain(tmp_path / "a.json", size)) == size
    with pytest.raises(DatasetError, match="it is larger than 1 KiB"):
        (tmp_path / "a.json").write_bytes(b" " * 1025)
        read_json(tmp_path / "a.json", max_bytes=1024)


def test_nothing_else_reads_json() -> None:
    """But for what our own processes tell each other and themselves."""
    own = {"json_files.py", "checks_spec.py", "installed.py", "render.py", "real_size.py"}
    sources = [path for pattern in ("tunemv3d_*/src", "plugins/*/src") for path in ROOT.glob(f"{pattern}/**/*.py")]
    foreign = re.compile(r"\bjson\.loads?\((?!canonical_json|json\.dumps)")
    assert {path.name for path in sources if foreign.search(path.read_text(encoding="utf-8"))} == own
