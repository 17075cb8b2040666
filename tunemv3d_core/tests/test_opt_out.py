"""What an opt-out list covers, case by case, and what it leaves alone."""

from pathlib import Path

import pytest

from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.opt_out import OptOut

LIST = """# asked on 2026-11-02
chair-7
Jay-Artist
  https://example.org/models/
https://example.org/one
Shelf:  Red Cup

"""


@pytest.fixture
def listed(tmp_path: Path) -> OptOut:
    (tmp_path / "list.txt").write_text(LIST, encoding="utf-8-sig")
    return OptOut.read(tmp_path / "list.txt")


@pytest.mark.parametrize(
    ("id_", "creator", "source", "covered_by"),
    [
        ("chair-7", "", "", "chair-7"),
        ("chair-7-v2", "", "", "chair-7"),
        ("Chair-7", "", "", "chair-7"),
        ("chair-77", "", "", ""),
        ("my-chair-7", "", "", ""),
        ("x", "jay-artist", "", "Jay-Artist"),
        ("x", "Kator Legaz, Jay-Artist & eTeks", "", "Jay-Artist"),
        ("x", "Ann and Jay-Artist", "", "Jay-Artist"),
        ("x", "Jay-Artistic", "", ""),
        ("x", "", "https://example.org/models/a/b", "https://example.org/models/"),
        ("x", "", "Objaverse https://example.org/models/a: Chair", "https://example.org/models/"),
        ("x", "", "https://example.org/modelsX/a", ""),
        ("x", "", "https://example.org/one", "https://example.org/one"),
        ("x", "", "https://example.org/one?x=1", "https://example.org/one"),
        ("x", "", "https://example.org/one-more", ""),
        ("x", "", "shelf: red cup", "Shelf:  Red Cup"),
        ("x", "", "", ""),
        ("asked", "# asked on 2026-11-02", "", ""),
    ],
)
def test_what_it_covers(listed: OptOut, id_: str, creator: str, source: str, covered_by: str) -> None:
    assert listed.entry_of(id_, creator, source) == covered_by


def test_no_list_covers_nothing() -> None:
    assert OptOut().entry_of("", "", "") == ""


def test_a_list_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "none.txt", tmp_path / "binary.txt", tmp_path):
        with pytest.raises(DatasetError, match=f"{path}: the opt-out list cannot be read"):
            OptOut.read(path)
