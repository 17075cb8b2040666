"""Notes: of what kind they are, and that nobody misses them."""

import logging

import pytest

from tunemv3d_data.notes import Note, collect, note, notes_of


def test_notes_are_collected_once_each_with_their_kind_and_others_logs_as_other() -> None:
    with collect() as heard:
        for _ in range(2):
            note("missing texture", "100%s wood.png is missing")
        note("no normals", "part 3 has no normals")
        logging.getLogger("trimesh").warning("face %d\nis odd", 4)
        logging.getLogger("trimesh").info("all is well")
    note("other", "too late")
    assert heard == [
        Note("missing texture", "100%s wood.png is missing"),
        Note("no normals", "part 3 has no normals"),
        Note("other", "face 4"),
    ]


def test_notes_are_warnings_for_callers_in_python(caplog: pytest.LogCaptureFixture) -> None:
    note("missing file", "chair.mtl is missing")
    assert caplog.record_tuples == [("tunemv3d_data.notes", logging.WARNING, "chair.mtl is missing")]


def test_notes_survive_json_and_those_of_older_datasets_are_read() -> None:
    kept = [Note("untextured", "seat"), Note("other", "what")]
    assert notes_of({"notes": [each.to_json() for each in kept]}) == tuple(kept)
    assert notes_of({"warnings": ["wood.png is missing"]}) == (Note("other", "wood.png is missing"),)
    assert notes_of({}) == ()


def test_notes_that_somebody_spoilt_are_still_one_printable_line() -> None:
    spoilt = [{"kind": "\x1b[31m", "text": "a\x1b]0;b\nc"}, 5, {"text": "x" * 10**6}]
    first, second = notes_of({"notes": spoilt, "warnings": 7})
    assert (
        first == Note("other", "a\N{REPLACEMENT CHARACTER}]0;b") and second.kind == "other" and len(second.text) == 300
    )
