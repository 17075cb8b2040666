"""Datasets of which nothing can be read: a finding per object and exit code 1, never a traceback."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.io.posed_images import read_manifest
from tunemv3d_core.plugins.assets import find_asset
from tunemv3d_data.commands import app
from tunemv3d_data.doctor import examine as doctor
from tunemv3d_data.layouts import nerfstudio, open_dataset
from tunemv3d_data.notes import note

Change = Callable[[dict[str, Any]], object]


def capture(folder: Path, change: Change) -> Path:
    """A nerfstudio capture of a disc by four cameras, with a fault."""
    folder.mkdir(parents=True)
    poses = Cameras.orbit(4).camera_to_world.numpy() * [1, -1, -1, 1]
    y, x = np.mgrid[:24, :24] - 11.5
    rgba = np.where((x**2 + y**2 < 36)[..., None], np.uint8([200, 20, 20, 255]), np.uint8(0))
    for number in range(4):
        Image.fromarray(rgba).save(folder / f"{number}.png")
    frames = [{"file_path": f"{number}.png", "transform_matrix": poses[number].tolist()} for number in range(4)]
    content: dict[str, Any] = {"fl_x": 30.0, "fl_y": 30.0, "cx": 12, "cy": 12, "w": 24, "h": 24, "frames": frames}
    change(content)
    (folder / "transforms.json").write_text(json.dumps(content))
    return folder


def check(folder: Path, *options: object) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and findings of the command; a traceback is raised."""
    arguments = ["check", folder, "--out", folder.parent / "check", "--workers", 1, "--json", *options]
    outcome = CliRunner().invoke(app, [*map(str, arguments)])
    if outcome.exception is not None and not isinstance(outcome.exception, SystemExit):
        raise outcome.exception
    return outcome.exit_code, json.loads(outcome.stdout)["found"]


FAULTS: dict[str, tuple[Change, str]] = {
    "distortion": (lambda c: c.update(k1=0.0578), "k1"),
    "fisheye": (lambda c: c.update(camera_model="OPENCV_FISHEYE"), "fisheye"),
    "missing picture": (lambda c: c["frames"][2].update(file_path="9.png"), "9.png"),
    "no focal length": (lambda c: [c.pop(key) for key in ("fl_x", "fl_y")], "fl_x"),
    "frames that are a number": (lambda c: c.update(frames=5), "frames"),
    "frames that are texts": (lambda c: c.update(frames=["0.png"]), "frame"),
    "a matrix of three columns": (lambda c: c["frames"][0].update(transform_matrix=[[1, 0, 0]] * 4), "matrices"),
    "a matrix of words": (lambda c: c["frames"][0].update(transform_matrix="one"), "matrices"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_capture_that_cannot_be_read_is_one_finding(tmp_path: Path, fault: str) -> None:
    change, word = FAULTS[fault]
    code, found = check(capture(tmp_path / "mine", change), "--layout", "nerfstudio")
    found = [finding for finding in found if finding["check"] != "same-picture"]  # it is one disc from all sides
    assert code == 1 and [(f["object"], f["level"]) for f in found] == [("mine", "error")]
    assert word in found[0]["text"] and "Traceback" not in found[0]["text"]


def own_dataset(folder: Path, count: int, spoil: Callable[[Path], object]) -> Path:
    """Some packaged chairs, each spoilt."""
    chairs = find_asset("chairs")
    ids = list(read_manifest(chairs))[:count]
    for id_ in ids:
        here = folder / "objects" / id_
        here.mkdir(parents=True)
        for file in (chairs / "objects" / id_).iterdir():
            (here / file.name).write_bytes(file.read_bytes())
        spoil(here)
    content = json.loads((chairs / "dataset.json").read_text())
    content["objects"] = [entry for entry in content["objects"] if entry["id"] in ids]
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def _empty(folder: Path) -> None:
    record = json.loads((folder / "transforms.json").read_text())
    for frame in record["frames"]:
        Image.new("RGBA", (8, 8)).save(folder / frame["file_path"])


def _folder_for_a_picture(folder: Path) -> None:
    (folder / "000.webp").unlink()
    (folder / "000.webp").mkdir()


SPOILT: dict[str, Callable[[Path], object]] = {
    "cut off": lambda folder: (folder / "transforms.json").write_text('{"frames": ['),
    "gone": lambda folder: (folder / "transforms.json").unlink(),
    "a folder": _folder_for_a_picture,
    "damaged": lambda folder: (folder / "000.webp").write_bytes(b"RIFF"),
}


@pytest.mark.parametrize("fault", SPOILT)
@pytest.mark.parametrize("count", [1, 2])
def test_a_dataset_whose_objects_are_all_damaged_is_findings(tmp_path: Path, fault: str, count: int) -> None:
    code, found = check(own_dataset(tmp_path / "mine", count, SPOILT[fault]))
    errors = [finding for finding in found if finding["check"] == "unreadable"]
    assert code == 1 and len(errors) == count and len({finding["object"] for finding in errors}) == count


def test_a_dataset_of_empty_pictures_is_findings(tmp_path: Path) -> None:
    code, found = check(own_dataset(tmp_path / "mine", 2, _empty))
    assert code == 1 and {finding["object"] for finding in found if finding["level"] == "error"}


def test_what_a_check_stumbles_over_is_a_finding_and_the_other_objects_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = own_dataset(tmp_path / "mine", 2, lambda folder: None)
    first, second = read_manifest(folder)

    def stumble(views: Any) -> Any:
        if views.record.id == first:
            yield torch.linalg.inv(torch.zeros(3, 3))

    monkeypatch.setattr(doctor, "OBJECT_CHECKS", (*doctor.OBJECT_CHECKS, stumble))
    seen: list[None] = []
    findings = doctor.examine(doctor.Round(open_dataset(folder)), 1, lambda: seen.append(None))
    (found,) = [finding for finding in findings if finding.check == "unreadable"]
    assert found.object == first and "stumble" in found.text and len(seen) == 2 and second


def test_what_is_noted_while_another_layout_is_read_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = nerfstudio.read

    def noting(folder: Path) -> Any:
        note("camera", "its matrices scale")
        return read(folder)

    monkeypatch.setattr(nerfstudio, "read", noting)
    _, found = check(capture(tmp_path / "mine", lambda content: None), "--layout", "nerfstudio")
    assert [(f["object"], f["level"], f["text"]) for f in found if f["check"] == "camera"] == [
        ("mine", "warning", "camera: its matrices scale")
    ]
