"""Foreign text on a terminal: nothing unseen, nothing endless, and everything else as it was written."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunemv3d_core.foreign_text import harmless, harmless_message, shown

BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def is_obeyed(letter: str) -> bool:
    """Whether a terminal or a reader of text acts on a letter in place of showing it."""
    return unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(letter) in BIDI


@pytest.mark.slow
@given(st.text(), st.integers(7, 200))
def test_one_line_of_bounded_length_remains(text: str, longest: int) -> None:
    line = shown(text, longest)
    assert len(line) <= longest and not any(map(is_obeyed, line))


def test_every_letter_that_is_obeyed_becomes_an_escape() -> None:
    for letter in map(chr, range(0x110000)):
        if is_obeyed(letter):
            assert shown(letter) == letter.encode("unicode_escape").decode()


@pytest.mark.parametrize("text", ["a chair", "Stühle", "椅子", "👩‍🦽", "می‌خواهم", "a\\b 'c' \"d\""])
def test_what_people_write_stays(text: str) -> None:
    assert shown(text) == harmless(text) == text


def test_both_ends_of_a_long_text_are_shown() -> None:
    assert shown("a" * 500 + "b" * 500, 25) == "a" * 10 + " ... " + "b" * 10
    assert shown("\0" * 30, 25) == r"\x00\x00\x " + r"... 00\x00\x00"


def test_messages_keep_their_lines_and_have_an_end() -> None:
    assert harmless("a\tb\nc\x1b[2J\r") == "a\tb\nc\\x1b[2J\\r"
    told = harmless_message("x" * 10**6 + "\n" + "y\n" * 10**6)
    assert len(told) < 20_100 and len(told.split("\n")[0]) < 2_100
