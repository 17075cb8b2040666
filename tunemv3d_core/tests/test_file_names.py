"""Names that Windows, macOS and Linux all take."""

import ntpath
from pathlib import PureWindowsPath

import pytest

from tunemv3d_core.io.file_names import clashes, fault_of, is_device

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
