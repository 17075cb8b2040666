"""Files and folders appear whole or not at all."""

import os
import sys
import time
from pathlib import Path

import pytest

from tunemv3d_core.io.atomic import atomic_file, atomic_folder, recover, sweep, write_text


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


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc what is synced")
def test_what_is_durable_waits_for_the_disk_before_its_name_and_its_name_before_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        done.append(f"sync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")
        fsync(descriptor)

    def renamed(source: Path, target: Path) -> None:
        done.append(f"rename {target.name}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    with atomic_folder(tmp_path / "a/b/made", durable=True) as beside:
        (beside / "file").write_text("content")
    assert done[:2] == [f"sync {tmp_path.name}", "sync a"]  # where the names of a and b stand
    assert done[2:] == ["sync file", "sync made.part", "rename made", "sync b"]
    done.clear()
    write_text(tmp_path / "text", "content", durable=True)
    assert done == ["sync text.part", "rename text", f"sync {tmp_path.name}"]


def test_half_written_files_of_others_are_swept_when_nobody_touched_them_for_an_hour(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name, age in (("deep/old.12.part", 3700), ("young.13.part", 3500), ("whole", 9999)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    sweep(tmp_path)
    assert {path.name for path in tmp_path.rglob("*")} == {"deep", "young.13.part", "whole"}
