"""``tunemv3d env``: true of this machine, of distributions made for the test, and where torch does not import."""

import json
import os
import platform
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch

from tunemv3d_core.cli.environment import env, environment
from tunemv3d_core.plugins.registry import registry


@pytest.fixture
def distribution(tmp_path, monkeypatch):
    """Install a distribution of its own: one command, and extras of which one is whole, one missing, one too old."""
    folder = tmp_path / "stranger-1.2.dist-info"
    folder.mkdir()
    (folder / "entry_points.txt").write_text("[tunemv3d.command]\nshow-off = stranger:COMMAND\n")
    (folder / "METADATA").write_text(
        "Metadata-Version: 2.4\nName: stranger\nVersion: 1.2\n"
        "Provides-Extra: show-off\nProvides-Extra: whole\nProvides-Extra: old\n"
        "Requires-Dist: numpy\n"
        "Requires-Dist: nowhere-to-be-found>=3; extra == 'show-off'\n"
        "Requires-Dist: torch; extra == 'whole'\n"
        "Requires-Dist: numpy>=999; extra == 'old'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    registry().clear()
    yield folder
    monkeypatch.undo()
    registry().clear()


def test_machine_and_libraries():
    found = environment()
    assert found["python"] == platform.python_version() and found["cpus"] == os.cpu_count()
    assert found["libraries"]["torch"] == torch.__version__ and found["libraries"]["numpy"] == metadata.version("numpy")
    assert len(found["devices"]) == torch.cuda.device_count() + torch.backends.mps.is_available()
    if sys.platform == "linux":
        total = int(Path("/proc/meminfo").read_text().split()[1]) / 2**20
        assert found["memory_gib"] == pytest.approx(total, abs=0.06)
    core = next(each for each in found["distributions"] if each["name"] == "tunemv3d-core")
    assert core["version"] == metadata.version("tunemv3d-core") and core["plugins"] == len(
        [e for e in metadata.distribution("tunemv3d-core").entry_points if e.group.startswith("tunemv3d.")]
    )


def test_extras_that_are_not_whole(distribution):
    found = [each for each in environment()["missing"] if each["extra"].startswith("stranger[")]
    assert found == [
        {"extra": "stranger[show-off]", "packages": ["nowhere-to-be-found>=3"], "commands": ["show-off"]},
        {"extra": "stranger[old]", "packages": ["numpy>=999"], "commands": ["show-off"]},
    ]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ({"url": "file:///home/somebody/secret", "dir_info": {"editable": True}}, "editable"),
        ({"url": "file:///home/somebody/secret.whl", "archive_info": {}}, "file"),
        ({"url": "https://user:password@host/x.whl", "archive_info": {}}, "address"),
        (None, "index"),
    ],
)
def test_origin_without_its_address(distribution, capsys, url, expected):
    if url is not None:
        (distribution / "direct_url.json").write_text(json.dumps(url))
    env(as_json=True)
    printed = capsys.readouterr().out
    (found,) = [each for each in json.loads(printed)["distributions"] if each["name"] == "stranger"]
    assert found == {"name": "stranger", "version": "1.2", "plugins": 1, "installed": expected, "permitted": True}
    assert "secret" not in printed and "password" not in printed


def test_no_paths_in_either_form(capsys):
    for as_json in (True, False):
        env(as_json=as_json)
        printed = capsys.readouterr().out
        places = [str(Path.home()), sys.prefix, str(Path.cwd()), str(Path(torch.__file__).parent)]
        assert not [place for place in places if len(place) > 1 and place in printed]


def test_torch_that_does_not_import(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    env(as_json=False)
    printed = capsys.readouterr().out
    assert "torch cannot be imported: ModuleNotFoundError" in printed
    assert "tunemv3d-core" in printed and "pydantic" in printed  # the rest goes on


def test_malformed_metadata_of_a_stranger(distribution):
    with (distribution / "METADATA").open("a") as file:
        file.write("Requires-Dist: ;;; what is this\n")
    assert not [each for each in environment()["missing"] if each["extra"].startswith("stranger[")]
