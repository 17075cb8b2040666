"""Names that Windows, macOS and Linux all take."""

import ntpath
from pathlib import Path, PureWindowsPath

import pytest

from tunemv3d_core.io.file_names import clashes, exists, fault_of, is_device, is_inside, is_name, leading_out, path_of
from tunemv3d_core.io.json_files import is_folder, is_plain

DEVICES = ["con", "AUX", "nul.txt", "com1", "LPT9.tar.gz", "CONIN$", "COM\u00b9", "prn ", "aux .x"]
GOOD = ["console", "auxiliary", "com", "com10", "chair", "ärm", "椅子", "a.b", "con-1", "nulls.txt"]


@pytest.mark.parametrize("name", [*DEVICES, *GOOD])
def test_devices_are_those_of_python(name: str) -> None:
    """Python has a list of its own; from 3.13 on it is another function."""
    reserved = getattr(ntpath, "isreserved", lambda name: PureWindowsPath(name).is_reserved())(name)
    assert is_device(name.rstrip()) == (name in DEVICES) == bool(reserved)


@pytest.mark.parametrize("name", GOOD)
def test_usual_names_are_good(name: str) -> None:
    assert fault_of(name) == ""


@pytest.mark.parametrize(
    ("name", "word"),
    [
        *(("", "empty"), (" a", "space"), ("a.", "dot"), (".a", "dot"), ("a:b", "':'"), ("a\\b", "folder's name")),
        *(("a/b", "'/'"), ("what?", "'?'"), ("a\nb", "folder's name"), ("nul", "device"), ("ä" * 101, "200 bytes")),
        ("a\u200bb", "printed"),
    ],
)
def test_names_that_no_folder_can_have(name: str, word: str) -> None:
    assert word in fault_of(name)


def test_names_that_a_disk_takes_for_one() -> None:
    folders = {"Chair": ["Chair"], "chair": ["chair"], "a\u0308": ["a\u0308"], "\u00e4": ["\u00e4"], "x": ["x", "x-v1"]}
    folders |= {"x-v1": ["x-v1"]}
    assert clashes(folders) == {"chair": "Chair", "\u00e4": "a\u0308", "x-v1": "x"}


@pytest.mark.parametrize("name", ["a", "a.b", "Stuhl ü", "..a", "a..b", "con", "ab:"])
def test_names_of_one_file(name: str) -> None:
    assert is_name(name) and is_inside(name) and is_inside(f"x/{name}")


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../a",
        "a/../../b",
        "/a",
        "\\a",
        "a:",
        "C:a",
        "C:\\a",
        "\\\\host\\a",
        "a\0",
        "a\nb",
        "\ud800",
        "x" * 256,
    ],
)
def test_names_of_nothing_below(name: str) -> None:
    assert not is_name(name) and not is_inside(name)


def test_what_leads_out_by_links(tmp_path: Path) -> None:
    folder, other = tmp_path / "in", tmp_path / "in and more"
    for each in (folder, other, folder / "deep"):
        each.mkdir()
        (each / "a").write_text("a")
    (folder / "out").symlink_to(other / "a")
    (folder / "round").symlink_to("round")
    (folder / "within").symlink_to("deep/a")
    (tmp_path / "way in").symlink_to(folder)
    names = ["a", "deep/a", "within", "nothing", "round"]
    assert leading_out(folder, [folder / name for name in names]) is None
    assert leading_out(tmp_path / "way in", [tmp_path / "way in" / name for name in names]) is None
    for name in ("out", "../in and more/a", "deep/../../x"):
        assert leading_out(folder, [folder / "a", folder / name]) == folder / name


def test_names_that_no_disk_could_hold_are_of_nothing() -> None:
    for text in ("x" * 5_000, "a\0b", "~nouser/x", "\ud800"):
        assert not exists(path_of(text)) and not is_plain(path_of(text)) and not is_folder(path_of(text))


def test_a_folder_of_the_hubs_cache_may_be_links_into_its_own_blobs(tmp_path: Path) -> None:
    for owner in ("datasets--ann--chairs", "datasets--bob--tables"):
        (tmp_path / owner / "blobs").mkdir(parents=True)
        (tmp_path / owner / "blobs/0a1b").touch()
    folder = tmp_path / "datasets--ann--chairs/snapshots/9f2c"
    (folder / "chair").mkdir(parents=True)
    (folder / "chair/000.png").symlink_to("../../../blobs/0a1b")
    (folder / "other.png").symlink_to("../../../datasets--bob--tables/blobs/0a1b")
    assert (folder / "other.png").is_file()
    assert leading_out(folder, [folder / "chair/000.png"]) is None
    assert leading_out(folder, [folder / "other.png"]) == folder / "other.png"
    elsewhere = (tmp_path / "snapshots/9f2c", tmp_path / "blobs/0a1b")
    for place in elsewhere:
        place.parent.mkdir(exist_ok=True)
    elsewhere[1].touch()
    elsewhere[0].mkdir()
    (elsewhere[0] / "000.png").symlink_to("../../blobs/0a1b")
    assert leading_out(elsewhere[0], [elsewhere[0] / "000.png"]) == elsewhere[0] / "000.png"
