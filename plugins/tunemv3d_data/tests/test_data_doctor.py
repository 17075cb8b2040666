"""Faults are planted in copies of real chairs, and the doctor must find each and name it; sound data has none."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from planted_faults import (
    CHAIRS,
    FIRST,
    OPENGL,
    Y_UP,
    Matrices,
    edit,
    edit_pictures,
    edit_poses,
    found,
    four_chairs,
    swap,
)
from typer.testing import CliRunner

from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.posed_images import write_manifest
from tunemv3d_core.plugins.assets import find_asset
from tunemv3d_data.commands import app
from tunemv3d_data.doctor.examine import Round, examine
from tunemv3d_data.layouts import open_dataset


@pytest.fixture
def chairs(tmp_path: Path) -> Path:
    return four_chairs(tmp_path / "chairs")


@pytest.mark.slow
def test_packaged_datasets_are_sound() -> None:
    for name in ("chairs", "furniture"):
        assert examine(Round(open_dataset(find_asset(name)))) == []


@pytest.mark.slow
def test_workers_find_what_one_process_finds(chairs: Path) -> None:
    edit_poses(chairs, lambda poses: poses @ OPENGL, CHAIRS[:2])
    alone = examine(Round(open_dataset(chairs)))
    seen: list[int] = []
    assert examine(Round(open_dataset(chairs)), workers=2, done=lambda: seen.append(1)) == alone
    assert len(alone) == 2 and len(seen) == 4


CONVENTIONS: dict[str, tuple[Matrices, str]] = {
    "opencv": (lambda poses: poses @ OPENGL, "OpenCV (x right, y down, z forward) camera-to-world"),
    "opencv-w2c": (lambda poses: np.linalg.inv(poses @ OPENGL), "OpenCV (x right, y down, z forward) world-to-camera"),
    "opengl-w2c": (np.linalg.inv, "OpenGL (x right, y up, z backward) world-to-camera"),
    "pytorch3d": (
        lambda poses: poses @ np.diag([-1.0, 1, -1, 1]),
        "PyTorch3D (x left, y up, z forward) camera-to-world",
    ),
    "unity": (lambda poses: np.diag([1.0, 1, -1, 1]) @ poses @ np.diag([1.0, 1, -1, 1]), "Unity, left-handed"),
    "mirrored": (lambda poses: poses @ np.diag([-1.0, 1, 1, 1]), "mirrored (x left, y up, z backward)"),
    "rows": (
        lambda poses: np.concatenate(
            [np.concatenate([poses[:, :3, :3].transpose(0, 2, 1), poses[:, :3, 3:]], 2), poses[:, 3:]], 1
        ),
        "OpenGL (x right, y up, z backward) row-vector",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CONVENTIONS)
def test_the_convention_that_fits_is_named(chairs: Path, name: str) -> None:
    change, words = CONVENTIONS[name]
    edit_poses(chairs, change)
    findings = [finding for finding in examine(Round(open_dataset(chairs))) if finding.check == "camera-convention"]
    assert [finding.object for finding in findings] == list(CHAIRS)
    assert all(words in finding.text for finding in findings), [finding.text for finding in findings]
    assert not [f for f in examine(Round(open_dataset(chairs))) if f.check not in ("camera-convention", "world-up")]


def test_the_advice_mends_the_poses(chairs: Path) -> None:
    """What the doctor says to do, done by hand, leaves nothing to find."""
    edit_poses(chairs, lambda poses: poses @ OPENGL)
    advice = found(chairs, "camera-convention")[0].advice
    assert advice == "multiply the matrix's columns x, y, z by 1, -1, -1"
    edit_poses(chairs, lambda poses: poses * np.array([1.0, -1, -1, 1]))
    found(chairs)


@pytest.mark.parametrize(
    ("turn", "axis"), [(Y_UP, "+y"), (np.diag([1.0, -1, -1, 1]), "-z"), (Y_UP @ np.diag([1.0, -1, -1, 1]), "-y")]
)
def test_the_worlds_up_axis_is_named(chairs: Path, turn: np.ndarray, axis: str) -> None:
    edit_poses(chairs, lambda poses: turn @ poses)
    findings = found(chairs, "world-up")
    assert len(findings) == 4 and all(f"the world's {axis} axis points up" in finding.text for finding in findings)


def test_y_up_in_another_convention_is_two_findings(chairs: Path) -> None:
    edit_poses(chairs, lambda poses: Y_UP @ poses @ OPENGL)
    findings = found(chairs, "world-up", "camera-convention")
    assert all("OpenCV" in finding.text for finding in findings if finding.check == "camera-convention")


def test_exchanged_pictures_are_found_with_the_cameras_that_took_them(chairs: Path) -> None:
    swap(chairs, f"{FIRST}/003.webp", f"{FIRST}/014.webp")
    (finding,) = found(chairs, "picture-order")
    assert finding.object == FIRST and finding.views == (3, 14)
    assert "picture 3 was taken by camera 14, picture 14 was taken by camera 3" in finding.text


def test_pictures_one_place_off_are_named(chairs: Path) -> None:
    folder = chairs / "objects" / FIRST
    files = [(folder / f"{view:03d}.webp").read_bytes() for view in range(24)]
    for view in range(24):
        (folder / f"{view:03d}.webp").write_bytes(files[(view + 1) % 24])
    (finding,) = found(chairs, "picture-order")
    assert "pictures one place too early" in finding.text


def test_one_wrong_camera_is_found(chairs: Path) -> None:
    def tilt(poses: np.ndarray) -> np.ndarray:
        angle = np.radians(12)
        turn = np.eye(4)
        turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        poses[7] = poses[7] @ turn
        return poses

    edit_poses(chairs, tilt, CHAIRS[1:2])
    (finding,) = found(chairs, "camera-of-view")
    assert finding.object == CHAIRS[1] and finding.views == (7,)


def test_a_view_of_another_object_is_found(chairs: Path) -> None:
    shutil.copy(chairs / "objects" / CHAIRS[3] / "005.webp", chairs / "objects" / FIRST / "009.webp")
    findings = found(chairs, "foreign-view", "duplicate-object")
    assert findings[0].object == FIRST and findings[0].views == (9,)


def test_cameras_that_nothing_explains_are_said_so(chairs: Path) -> None:
    order = np.random.default_rng(0).permutation(24)
    edit_poses(chairs, lambda poses: poses[order], (FIRST,))
    (finding,) = found(chairs, "camera-unknown")
    assert finding.object == FIRST


def azimuth(frame: dict[str, Any]) -> float:
    """Degrees from the front, -180 to 180; the world's -y is the front and its +x the right."""
    x, y = frame["transform_matrix"][0][3], frame["transform_matrix"][1][3]
    return math.degrees(math.atan2(x, -y))


def test_cameras_on_one_side_are_found_with_the_side_that_none_sees(chairs: Path) -> None:
    """Of the first chair the views within 85 degrees of the front stay, of the second those of its right half."""
    kept: dict[str, list[float]] = {}

    def keep(middle: float) -> Callable[[dict[str, Any]], None]:
        def change(content: dict[str, Any]) -> None:
            near = [f for f in content["frames"] if abs((azimuth(f) - middle + 180) % 360 - 180) < 85]
            content["frames"] = near
            kept[content["id"]] = sorted((azimuth(f) - middle + 180) % 360 - 180 for f in near)

        return change

    edit(chairs, keep(0), CHAIRS[:1])
    edit(chairs, keep(90), CHAIRS[1:2])
    findings = found(chairs, "one-sided")
    assert [finding.object for finding in findings] == list(CHAIRS[:2])
    for finding, middle, side in zip(findings, (0, 90), ("back", "left"), strict=True):
        low, *_, high = kept[finding.object]
        assert finding.numbers["angle"] == pytest.approx(360 - (high - low), abs=0.1)
        assert finding.numbers["azimuth"] == pytest.approx((middle + (low + high) / 2 + 180) % 360, abs=0.1)
        assert f"(its {side})" in finding.text and finding.level == "warning"


def test_a_ring_at_one_elevation_sees_every_side(chairs: Path) -> None:
    edit(chairs, lambda content: content.update(frames=content["frames"][:8]))
    found(chairs)


def test_a_side_is_not_missed_where_the_worlds_up_is_wrong(chairs: Path) -> None:
    edit(chairs, lambda content: content.update(frames=content["frames"][:8]))
    edit_poses(chairs, lambda poses: Y_UP @ poses)
    found(chairs, "world-up")


def focal(factor: float, centre: float = 1.0) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for key in ("fl_x", "fl_y"):
            content[key] *= factor
        for key in ("cx", "cy"):
            content[key] *= centre

    return change


@pytest.mark.parametrize(
    ("factor", "centre", "words"),
    [
        (1 / 128, 1 / 128, "focal length and centre as fractions"),
        (1 / 128, 1, "a focal length as a fraction"),
        (1, 1 / 128, "a centre as a fraction"),
        (4, 4, "of pictures 4 times as large"),
        (0.5, 0.5, "of pictures 2 times as small"),
        (2, 1, "a focal length 2 times the true one"),
    ],
)
def test_intrinsics_in_wrong_units_are_named(chairs: Path, factor: float, centre: float, words: str) -> None:
    edit(chairs, focal(factor, centre))
    findings = found(chairs, "camera-units")
    assert len(findings) == 4 and all(words in finding.text for finding in findings), [f.text for f in findings]


@pytest.mark.parametrize(("shift", "side"), [(0.5, "right"), (-0.5, "left")])
def test_half_a_pixel_is_found(chairs: Path, shift: float, side: str) -> None:
    edit(chairs, lambda content: content.update(cx=64 + shift, cy=64 + shift))
    (finding,) = found(chairs, "half-pixel")
    assert f"too far {side}" in finding.text


@pytest.mark.parametrize(
    ("factor", "checks"), [(3.0, {"object-large"}), (0.4, {"object-small"}), (0.35, {"object-small", "camera-inside"})]
)
def test_scale_is_measured(chairs: Path, factor: float, checks: set[str]) -> None:
    """The radius that is named is the true one: these chairs are made with 0.9 to a tenth."""

    def scaled(poses: np.ndarray) -> np.ndarray:
        poses[:, :3, 3] *= factor
        return poses

    edit_poses(chairs, scaled, (FIRST,))
    for finding in found(chairs, *checks):
        if finding.check != "camera-inside":
            assert finding.numbers["radius"] == pytest.approx(0.9 * factor, rel=0.08)


def test_an_object_off_the_centre_is_measured(chairs: Path) -> None:
    def moved(poses: np.ndarray) -> np.ndarray:
        poses[:, :3, 3] += (0.6, 0.0, 0.1)
        return poses

    edit_poses(chairs, moved, (FIRST,))
    (finding,) = found(chairs, "off-centre")
    assert finding.numbers["off_centre"] == pytest.approx(0.61, abs=0.1) and "leaves the unit sphere" in finding.text


def moved_by(x: float) -> Matrices:
    return lambda poses: np.array([[1, 0, 0, x], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]) @ poses


def grown(poses: np.ndarray) -> np.ndarray:
    poses[:, :3, 3] *= 3
    return poses


@pytest.mark.parametrize("change", [moved_by(0.8), grown, lambda poses: Y_UP @ poses])
def test_the_command_that_is_advised_mends_the_dataset(chairs: Path, tmp_path: Path, change: Matrices) -> None:
    write_manifest(chairs, "chairs", {FIRST: "train"})
    edit_poses(chairs, change, (FIRST,))
    (finding,) = found(chairs, *{finding.check for finding in examine(Round(open_dataset(chairs)))})
    _, _, option = finding.advice.partition("tunemv3d data convert ")
    mended = CliRunner().invoke(app, ["convert", str(chairs), "--out", str(tmp_path / "mended"), option])
    assert mended.exit_code == 0, mended.output
    found(tmp_path / "mended")


def over(ground: int) -> Matrices:
    def compose(rgba: np.ndarray) -> np.ndarray:
        alpha = rgba[..., 3:].astype(float) / 255
        return np.rint(rgba[..., :3] * alpha + ground * (1 - alpha)).astype(np.uint8)

    return compose


def test_white_ground_without_alpha(chairs: Path) -> None:
    edit_pictures(chairs, over(255))
    (finding,) = found(chairs, "alpha-missing")
    assert "white ground" in finding.text and finding.object == FIRST


def test_inverted_alpha(chairs: Path) -> None:
    edit_pictures(chairs, lambda rgba: np.concatenate([rgba[..., :3], 255 - rgba[..., 3:]], -1))
    found(chairs, "alpha-inverted")


@pytest.mark.slow
@pytest.mark.parametrize("id_", CHAIRS)
@pytest.mark.parametrize(("ground", "check"), [(0, "alpha-premultiplied"), (255, "alpha-white-fringe")])
def test_colours_mixed_with_their_ground(chairs: Path, id_: str, ground: int, check: str) -> None:
    mixed = over(ground)
    edit_pictures(chairs, lambda rgba: np.concatenate([mixed(rgba), rgba[..., 3:]], -1), id_=id_)
    (finding,) = found(chairs, check)
    assert finding.object == id_


def test_colours_that_bleed_under_alpha_are_fine(chairs: Path) -> None:
    edit_pictures(chairs, lambda rgba: np.where(rgba[..., 3:] == 0, np.uint8([90, 160, 30, 0]), rgba))
    found(chairs)


def test_an_empty_view(chairs: Path) -> None:
    edit_pictures(chairs, np.zeros_like, range(4, 6))
    (finding,) = found(chairs, "empty-view")
    assert finding.views == (4, 5)


def test_clipped_views(chairs: Path) -> None:
    def shifted(rgba: np.ndarray) -> np.ndarray:
        return np.concatenate([rgba[40:], np.zeros_like(rgba[:40])])

    edit_pictures(chairs, shifted, range(2, 3))
    (finding,) = found(chairs, "clipped")
    assert finding.views == (2,)


def test_one_picture_twice(chairs: Path) -> None:
    folder = chairs / "objects" / FIRST
    shutil.copy(folder / "001.webp", folder / "002.webp")
    findings = found(chairs, "same-picture", "picture-order")
    assert findings[0].views == (1, 2)


def test_a_picture_of_another_size(chairs: Path) -> None:
    path = chairs / "objects" / FIRST / "006.webp"
    Image.open(path).resize((96, 96), Image.Resampling.NEAREST).save(path, lossless=True)
    (finding,) = found(chairs, "picture-size")
    assert finding.views == (6,) and "96 x 96" in finding.text


@pytest.mark.parametrize(("level", "check"), [(3, "near-black"), (254, "blown-out")])
def test_black_and_blown_out_pictures(chairs: Path, level: int, check: str) -> None:
    def painted(rgba: np.ndarray) -> np.ndarray:
        rgba[..., :3] = level
        return rgba

    edit_pictures(chairs, painted, range(3))
    (finding,) = found(chairs, check)
    assert finding.views == (0, 1, 2)


def test_what_cannot_be_read_is_a_finding_and_the_rest_goes_on(chairs: Path) -> None:
    (chairs / "objects" / CHAIRS[0] / "003.webp").write_bytes(b"no picture")
    (chairs / "objects" / CHAIRS[1] / "transforms.json").write_text("{")
    (chairs / "objects" / CHAIRS[2] / "011.webp").unlink()
    edit(chairs, lambda content: content.update(licence=""), CHAIRS[3:])
    findings = found(chairs, "unreadable", "licence-missing")
    assert [finding.object for finding in findings] == list(CHAIRS)
    assert "003.webp" in findings[0].text and "transforms.json" in findings[1].text and "011.webp" in findings[2].text


def test_the_command_reports_draws_and_sets_the_exit_code(chairs: Path, tmp_path: Path) -> None:
    run, out = CliRunner(), tmp_path / "pictures"
    sound = run.invoke(app, ["check", str(chairs), "--workers", "1", "--out", str(out)])
    assert sound.exit_code == 0 and "nothing found" in sound.stdout and not out.exists()
    swap(chairs, f"{FIRST}/003.webp", f"{FIRST}/014.webp")
    table = run.invoke(app, ["check", str(chairs), "--workers", "1", "--out", str(out)])
    assert table.exit_code == 1 and "picture-order" in table.stdout
    report = run.invoke(app, ["check", str(chairs), "--workers", "1", "--out", str(out), "--json"])
    (finding,) = json.loads(report.stdout)["found"]
    assert finding["check"] == "picture-order" and finding["views"] == [3, 14]
    with Image.open(out / finding["picture"]) as picture:
        assert picture.format == "PNG" and picture.width > 224 * 2


def test_pictures_are_never_written_into_the_dataset(chairs: Path) -> None:
    before = sorted(chairs.rglob("*"))
    refused = CliRunner().invoke(app, ["check", str(chairs), "--out", str(chairs / "check")])
    assert isinstance(refused.exception, DatasetError) and "only read" in str(refused.exception)
    assert sorted(chairs.rglob("*")) == before
