"""A file of prompts as editors leave it."""

from pathlib import Path

import pytest

from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.io.prompts import read_prompts


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_lines_are_prompts_and_comments_and_marks_are_none(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "words.txt"
    file.write_text("a stool \r\n\n  # not this\r\na café's chair # 7\na stool", encoding=encoding)
    assert read_prompts(file) == ["a stool", "a café's chair # 7", "a stool"]


def test_a_file_without_prompts_gives_none(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("# nothing\n\n")
    assert read_prompts(tmp_path / "words.txt") == []


def test_what_cannot_be_read_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("a stool", encoding="utf-16")
    with pytest.raises(TuneMV3DError, match=r"words\.txt: cannot be read: .*; save it as UTF-8"):
        read_prompts(tmp_path / "words.txt")
    with pytest.raises(TuneMV3DError, match=r"missing\.txt: cannot be read"):
        read_prompts(tmp_path / "missing.txt")
