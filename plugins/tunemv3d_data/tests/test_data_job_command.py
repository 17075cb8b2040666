"""``tunemv3d data render`` at the command line."""

import json
from pathlib import Path

import pytest
from job_stand_ins import boxes, meshes_folder
from typer.testing import CliRunner

from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.json_files import read_json
from tunemv3d_core.io.posed_images import read_manifest, read_object
from tunemv3d_data.commands import app
from tunemv3d_data.rendering.executors import Here


@pytest.mark.slow
def test_command_speaks_json_and_the_exit_codes_of_the_design(tmp_path: Path) -> None:
    folder = meshes_folder(tmp_path / "meshes")
    arguments = ["render", str(folder), "--out", str(tmp_path / "out"), "--views", "2", "--resolution", "16"]
    arguments += ["--renderer", "embree"]
    outcome = CliRunner().invoke(app, [*arguments, "--workers", "1", "--json"])
    assert outcome.exit_code == 1
    said = json.loads(outcome.stdout)
    assert said["counts"] == {"rendered": 2, "kept": 0, "refused": 0, "failed": 1}
    assert said["causes"] == {"unreadable": 1} and said["problems"][0]["id"] == "broken"
    written = sum(path.stat().st_size for path in (tmp_path / "out" / "objects").rglob("*.*"))
    assert said["bytes_written"] == written and said["renderer"] == "embree"
    assert said["objects_a_second"] == pytest.approx(2 / said["seconds"], rel=0.05)
    assert 50e6 < said["peak_worker_bytes"] < 2e9
    (folder / "broken.glb").unlink()
    outcome = CliRunner().invoke(app, [*arguments, "--workers", "1"])
    assert outcome.exit_code == 0 and "2 kept" in outcome.stdout
    assert "| red-ball |" in (tmp_path / "out" / "ATTRIBUTION.md").read_text()


def invoke(*arguments: object) -> None:
    outcome = CliRunner().invoke(app, ["render", *map(str, arguments)])
    if outcome.exception is not None:
        raise outcome.exception


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other process renders: the options are what is tested."""
    monkeypatch.setattr("tunemv3d_data.rendering.executors.Processes", lambda *given: Here())


@pytest.mark.usefixtures("here")
def test_every_option_reaches_the_dataset(tmp_path: Path) -> None:
    boxes(tmp_path / "meshes", 3)
    (tmp_path / "not.txt").write_text("box-02")
    (tmp_path / "rules.py").write_text(
        "from tunemv3d_data.captions.wording import Description\n"
        "def describe(source, mesh, seen):\n    return Description('crate', (f'my crate {source.name}',))\n"
    )
    invoke(
        *(tmp_path / "meshes", "--out", tmp_path / "out", "--views", 3, "--resolution", 16, "--workers", 1),
        *("--cameras", "random", "--ring", 1, "--elevations", "-5:70", "--distance", 3, "--fov", 35, "--jitter", 0.1),
        *("--light", "random", "--background", "black", "--variants", 1, "--quality", 80, "--held-out", 1),
        *("--exclude", tmp_path / "not.txt", "--renderer", "embree"),
        *("--caption-rules", tmp_path / "rules.py"),
    )
    settings = read_json(tmp_path / "out" / "dataset.json")["settings"]
    assert settings["cameras"] == {
        **{"pattern": "random", "ring": 1, "ring_elevation": 20.0, "elevations": [-5.0, 70.0]},
        **{"distance": 3.0, "field_of_view": 35.0, "jitter": 0.1},
    }
    rest = ("renderer", "views", "resolution", "light", "background", "variants", "quality", "geometry")
    assert [settings[key] for key in rest] == ["embree", 3, 16, "random", "black", 1, 80, True]
    splits = read_manifest(tmp_path / "out")
    assert len(splits) == 3 and list(splits.values()).count("held_out") == 1
    record = read_object(tmp_path / "out" / "objects" / "box-00")
    assert record.size == (16, 16) and record.captions == ("my crate box-00",) and record.extra["type"] == "crate"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--elevations", "60:10"), "elevations: the lowest must lie below"),
        (("--elevations", "high"), "should be low:high in degrees"),
        (("--distance", "0.5"), "distance"),
        (("--quality", "best"), "--quality best"),
        (("--shard", "3/2"), "--shard 3/2"),
        (("--held-out", "7"), "only 2 objects"),
        (("--licence", "cc0"), "cc0"),
        (("--background", "white", "--no-geometry"), "mask"),
    ],
)
def test_bad_options_are_one_message_and_nothing_is_written(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    boxes(tmp_path / "meshes", 2)
    with pytest.raises(DatasetError, match=message):
        invoke(tmp_path / "meshes", "--out", tmp_path / "out", *arguments)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("here")
def test_auto_stays_with_the_renderer_that_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes(tmp_path / "meshes", 1)
    arguments = (tmp_path / "meshes", "--out", tmp_path / "out", "--views", 2, "--resolution", 16, "--workers", 1)
    invoke(*arguments, "--renderer", "embree")
    monkeypatch.setattr("tunemv3d_data.renderers.auto.choose", lambda name: {"auto": "other"}.get(name, name))
    invoke(*arguments)
    assert read_json(tmp_path / "out" / "dataset.json")["settings"]["renderer"] == "embree"
