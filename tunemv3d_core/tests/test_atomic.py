"""Files and folders appear whole or not at all."""

from pathlib import Path

import pytest

from tunemv3d_core.io.atomic import atomic_file, atomic_folder, recover, write_text


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("per_process", [False, True])
def test_a_file_appears_at_the_end(tmp_path: Path, per_process: bool) -> None:
    path = tmp_path / "page.html"
    path.write_text("old")
    with atomic_file(path, per_process) as beside:
        beside.write_text("new")
        assert path.read_text() == "old"
        assert beside.parent == tmp_path and beside.name.endswith(".part")
    assert path.read_text() == "new"
    assert names(tmp_path) == {"page.html"}


def test_an_error_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_file(path) as beside:
        beside.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert names(tmp_path) == {"page.html"}


def test_a_file_that_nobody_wrote_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "page.html"):
        pass


def test_a_folder_appears_at_the_end_without_leftovers(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "sample"
    (tmp_path / "deep" / "sample.part").mkdir(parents=True)
    (tmp_path / "deep" / "sample.part" / "leftover").touch()
    with atomic_folder(folder) as beside:
        (beside / "new").touch()
        assert not folder.exists()
    assert names(folder) == {"new"}
    assert names(folder.parent) == {"sample"}


def test_a_folder_replaces_another_only_if_asked(tmp_path: Path) -> None:
    folder = tmp_path / "sample"
    folder.mkdir()
    (folder / "old").touch()
    with pytest.raises(OSError, match="not empty"), atomic_folder(folder) as beside:
        (beside / "new").touch()
    assert names(folder) == {"old"}
    with atomic_folder(folder, replace=True) as beside:
        (beside / "new").touch()
    assert names(folder) == {"new"}
    assert names(tmp_path) == {"sample"}


def test_an_error_leaves_the_old_folder_alone(tmp_path: Path) -> None:
    folder = tmp_path / "sample"
    folder.mkdir()
    (folder / "old").touch()
    with pytest.raises(RuntimeError), atomic_folder(folder, replace=True):
        raise RuntimeError
    assert names(folder) == {"old"}
    assert names(tmp_path) == {"sample"}


def test_what_killed_writes_left_is_cleared_and_an_old_folder_comes_back(tmp_path: Path) -> None:
    for name in ("a.old", "b", "b.old", "c.part", "d"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "holds").write_text(name)
    (tmp_path / "page.html.part").touch()
    recover(tmp_path)
    assert names(tmp_path) == {"a", "b", "d"}
    assert {(tmp_path / name / "holds").read_text() for name in ("a", "b", "d")} == {"a.old", "b", "d"}
