"""Lenses per file and per frame, and all that a transforms.json may say of them that is not a pinhole."""

import json
import math
from pathlib import Path

import pytest
import torch

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import CameraError, DatasetError
from tunemv3d_core.io.lenses import read_lens
from tunemv3d_core.io.posed_images import PosedImages, read_object, write_object

POINTS = torch.tensor([[0.3, -0.2, 0.1], [-0.5, 0.4, 0.2]])


def record(lenses: torch.Tensor) -> PosedImages:
    poses = Cameras.orbit(len(lenses)).camera_to_world
    files = tuple(f"{view:03d}.png" for view in range(len(lenses)))
    return PosedImages("ball", Cameras(poses, lenses), (60, 80), ("a ball",), files)


def edit(folder: Path, at: int | None, **change: object) -> Path:
    """Change keys of the file, or of one frame."""
    path = folder / "transforms.json"
    content = json.loads(path.read_text())
    (content if at is None else content["frames"][at]).update(change)
    path.write_text(json.dumps(content))
    return folder


def test_lenses_that_differ_come_back_and_see_points_where_they_did(tmp_path: Path) -> None:
    """Zoom lenses and shifted centres, as nerfstudio writes them: pixels of a frame, by the pinhole's formula."""
    lenses = torch.tensor([[1.3, 1.7333, 0.5, 0.5], [2.0, 2.6667, 0.45, 0.6], [1.0, 1.3, 0.5, 0.55]])
    write_object(tmp_path, record(lenses))
    content = json.loads((tmp_path / "transforms.json").read_text())
    assert content["frames"][1]["fl_x"] == pytest.approx(160) and content["frames"][1]["cy"] == pytest.approx(36)
    cameras = read_object(tmp_path).cameras
    torch.testing.assert_close(cameras.intrinsics, lenses)
    pixels, depth = cameras.project(POINTS.expand(3, 2, 3))
    for view, frame in enumerate(content["frames"]):
        matrix = torch.tensor(frame["transform_matrix"], dtype=torch.float64)
        x, y, z = torch.linalg.inv(matrix)[:3] @ torch.cat([POINTS.double(), torch.ones(2, 1)], dim=1).T
        torch.testing.assert_close(depth[view].double(), -z)  # OpenGL looks along -z, with y up
        torch.testing.assert_close(
            pixels[view, :, 0].double() * 80, frame["fl_x"] * x / -z + frame["cx"], rtol=1e-5, atol=1e-4
        )
        torch.testing.assert_close(
            pixels[view, :, 1].double() * 60, frame["fl_y"] * -y / -z + frame["cy"], rtol=1e-5, atol=1e-4
        )


def test_a_shared_lens_is_written_once(tmp_path: Path) -> None:
    write_object(tmp_path, record(torch.tensor([[1.3, 1.7, 0.5, 0.5]]).expand(3, 4)))
    frames = json.loads((tmp_path / "transforms.json").read_text())["frames"]
    assert {key for frame in frames for key in frame} == {"file_path", "transform_matrix"}


@pytest.mark.parametrize(
    ("at", "change", "message"),
    [
        (None, {"k1": 0.05, "p2": -0.01}, r"json: the lens is distorted \(k1 = 0\.05, p2 = -0\.01\).*--undistort"),
        (2, {"k3": 0.1}, r"frame 2 \(002\.png\): the lens is distorted \(k3 = 0\.1\)"),
        (None, {"is_fisheye": True}, "the lens is fisheye; "),
        (None, {"camera_model": "OPENCV_FISHEYE", "k1": 0.1}, r"the lens is fisheye \(k1 = 0\.1\)"),
        (None, {"camera_model": "EQUIRECTANGULAR"}, "camera model EQUIRECTANGULAR is not read"),
        (None, {"cx": math.nan}, r"transforms\.json: cx: NaN is not a finite number"),
        (1, {"cy": math.nan}, r"transforms\.json: frames\.1\.cy: NaN is not a finite number"),
        (None, {"fl_x": math.inf}, "fl_x: Infinity is not a finite number"),
        (None, {"k1": math.nan}, "k1: NaN is not a finite number"),
        (0, {"fl_y": -3}, r"frame 0 \(000\.png\): the focal length 'fl_y' must be positive, got -3"),
        (1, {"w": 40, "h": 60}, r"frame 1 \(001\.png\): 40 x 60 pixels, but frame 0 has 80 x 60"),
        (1, {"fl_x": "wide"}, r"frame 1 \(001\.png\): could not convert"),
    ],
)  # fmt: skip
def test_what_is_no_pinhole_of_sound_numbers_is_refused(
    tmp_path: Path, at: int | None, change: dict[str, object], message: str
) -> None:
    write_object(tmp_path, record(torch.tensor([[1.3, 1.7, 0.5, 0.5]]).expand(3, 4)))
    with pytest.raises(DatasetError, match=message):
        read_object(edit(tmp_path, at, **change))


@pytest.mark.parametrize(("change", "fault"), [({"fl_x": 1e30}, "focal length"), ({"cx": 1e9}, "principal point")])
def test_insane_numbers_are_refused_with_the_camera_and_still_examined(
    tmp_path: Path, change: dict[str, float], fault: str
) -> None:
    write_object(tmp_path, record(torch.tensor([[1.3, 1.7, 0.5, 0.5]]).expand(3, 4)))
    edit(tmp_path, 2, **change)
    with pytest.raises(CameraError, match=rf"transforms\.json: camera 2 has a {fault}.*pixels"):
        read_object(tmp_path)
    assert read_object(tmp_path, check_cameras=False).views == 3


def test_angles_stand_for_focal_lengths() -> None:
    """45 degrees across 80 pixels, 34.515... up 60: square pixels, whether the second is stated or not."""
    upward = 2 * math.atan(60 / 80 * math.tan(math.pi / 8))
    for more in ({}, {"camera_angle_y": upward}):
        lens = read_lens({"w": 80, "h": 60, "camera_angle_x": math.pi / 4, **more}, "here")
        assert lens.intrinsics == pytest.approx((0.5 / math.tan(math.pi / 8), 0.5 / math.tan(upward / 2), 0.5, 0.5))
    assert read_lens({"camera_angle_x": 1.0, "fl_x": 40}, "here", (60, 80)).intrinsics[0] == 0.5
    for angle in (0, 4, math.nan):
        with pytest.raises(DatasetError, match="here: 'camera_angle_x'"):
            read_lens({"w": 8, "h": 8, "camera_angle_x": angle}, "here")
    with pytest.raises(DatasetError, match="here: the key 'fl_x' is missing"):
        read_lens({"w": 8, "h": 8}, "here")
