"""Cameras that were stored in another way than their layout says: named, refused, and mended when that is asked for."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from other_layouts import Chair, blender_matrices, cropped, save
from typer.testing import CliRunner

from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.posed_images import read_object
from tunemv3d_data.commands import app
from tunemv3d_data.conversion.convert import Conversion, convert
from tunemv3d_data.doctor.examine import Round, examine
from tunemv3d_data.layouts import open_dataset
from tunemv3d_data.notes import collect

CAPTURES = Path(__file__).parent / "captures"


@pytest.fixture(scope="module")
def chair() -> Chair:
    return Chair(12)


def opencv(chair: Chair, index: int) -> np.ndarray:
    """Camera to world with x right, y down, z forward, from the chair's directions alone."""
    columns = [chair.right[index], chair.down[index], chair.forward[index], chair.eye[index]]
    return np.vstack([np.stack(columns, axis=1), [0, 0, 0, 1]])


def stored(chair: Chair, convention: str) -> list[np.ndarray]:
    """The chair's cameras as each convention's users write them."""
    gl, cv = blender_matrices(chair, 1.0), [opencv(chair, index) for index in range(len(chair.pictures))]
    # PyTorch3D: x left, y up, z forward.
    p3d = [matrix @ np.diag([-1, -1, 1, 1]) for matrix in cv]
    return {
        "opengl": gl,
        "opencv": cv,
        "opencv-w2c": [np.linalg.inv(matrix) for matrix in cv],
        "opengl-w2c": [np.linalg.inv(matrix) for matrix in gl],
        "pytorch3d": p3d,
    }[convention]


def capture(folder: Path, chair: Chair, matrices: list[np.ndarray]) -> Path:
    side = chair.pictures[0].shape[0]
    frames = []
    for index, matrix in enumerate(matrices):
        save(folder / f"{index:03d}.png", chair.pictures[index])
        frames.append({"file_path": f"{index:03d}.png", "transform_matrix": matrix.tolist()})
    content = {"w": side, "h": side, "fl_x": chair.focal * side, "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("convention", ["opencv", "opencv-w2c", "opengl-w2c", "pytorch3d"])
def test_convert_names_the_convention_and_takes_it_when_asked(convention: str, chair: Chair, tmp_path: Path) -> None:
    """The converted cameras are those of the same chair stored as the layout has it, to 1e-5."""
    folder = capture(tmp_path / "chair", chair, stored(chair, convention))
    refused = convert(open_dataset(folder), Conversion(tmp_path / "no"))[0]
    assert refused.status == "refused" and f"--convention {convention}" in refused.note
    assert ("world-to-camera" in refused.note.split("they look like")[1]) == convention.endswith("w2c")
    (finding,) = examine(Round(open_dataset(folder)))
    assert finding.check == "camera-convention" and finding.advice.endswith(f"--convention {convention}")
    done = convert(open_dataset(folder, convention=convention), Conversion(tmp_path / "out"))
    assert [result.status for result in done] == ["converted"]
    sound = capture(tmp_path / "sound" / "chair", chair, stored(chair, "opengl"))
    convert(open_dataset(sound), Conversion(tmp_path / "wanted"))
    found, wanted = (read_object(tmp_path / out / "objects" / "chair").cameras for out in ("out", "wanted"))
    assert np.abs(found.camera_to_world.numpy() - wanted.camera_to_world.numpy()).max() < 1e-5
    assert np.allclose(found.intrinsics, wanted.intrinsics)


def test_a_wrong_convention_is_refused_too(chair: Chair, tmp_path: Path) -> None:
    folder = capture(tmp_path / "chair", chair, stored(chair, "opengl"))
    asked = open_dataset(folder, convention="opencv-w2c")
    (refused,) = convert(asked, Conversion(tmp_path / "no"))
    assert refused.status == "refused" and refused.note.endswith("--convention opengl")
    with pytest.raises(DatasetError, match="no convention 'opengel'; choose opencv, opengl, blender"):
        open_dataset(folder, convention="opengel")


def test_zero123_matrices_that_are_camera_to_world_are_named_from_their_own_convention(tmp_path: Path) -> None:
    """Its layout reads OpenGL world-to-camera matrices; these are OpenGL camera-to-world ones."""
    chair = Chair(12)
    for index, matrix in enumerate(blender_matrices(chair, 0.5)):
        save(tmp_path / "uid" / f"{index:03d}.png", cropped(chair.pictures[index], chair.focal, 35 / 32))
        np.save(tmp_path / "uid" / f"{index:03d}.npy", matrix[:3])
    (refused,) = convert(open_dataset(tmp_path), Conversion(tmp_path / "out"))
    assert refused.status == "refused" and "OpenGL (x right, y up, z backward) camera-to-world" in refused.note
    assert refused.note.endswith("--convention opengl")


def test_the_commands_say_what_ones_own_opencv_matrices_are(tmp_path: Path) -> None:
    arguments = ["convert", str(CAPTURES / "own_opencv"), "--out", str(tmp_path / "out")]
    outcome = CliRunner().invoke(app, arguments)
    assert outcome.exit_code == 1 and "OpenCV (x right, y down, z forward) camera-to-world" in outcome.stdout
    assert "--convention opencv" in outcome.stdout and "0 converted" in outcome.stdout
    outcome = CliRunner().invoke(app, [*arguments[:3], str(tmp_path / "mended"), "--convention", "opencv"])
    assert outcome.exit_code == 0 and "1 converted" in outcome.stdout, outcome.output


def test_units_are_mended_at_the_source(chair: Chair, tmp_path: Path) -> None:
    folder = capture(tmp_path / "chair", chair, stored(chair, "opengl"))
    path = folder / "transforms.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "fl_x": content["fl_x"] * 4, "cx": 256, "cy": 256}))
    (refused,) = convert(open_dataset(folder), Conversion(tmp_path / "out"))
    assert refused.status == "refused"
    assert refused.note.endswith("in the source's files: divide fl_x, fl_y, cx and cy by 4")


@pytest.mark.parametrize(
    ("change", "check", "message"),
    [
        ({"cx": float("nan")}, "unreadable", r"transforms\.json: cx: NaN is not a finite number"),
        ({"fl_x": float("inf")}, "unreadable", r"transforms\.json: fl_x: Infinity is not a finite number"),
        ({"fl_x": 1e-9}, "camera-lens", "camera 0 has a focal length outside .* in files it is in pixels"),
    ],
)
def test_numbers_that_cannot_be_are_found_and_refused(
    chair: Chair, tmp_path: Path, change: dict[str, float], check: str, message: str
) -> None:
    folder = capture(tmp_path / "chair", chair, stored(chair, "opengl"))
    path = folder / "transforms.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    found = {finding.check: finding.text for finding in examine(Round(open_dataset(folder)))}
    assert re.search(message, found[check])
    (refused,) = convert(open_dataset(folder), Conversion(tmp_path / "out"))
    assert refused.status == "refused" and re.search(message, refused.note) and str(folder) in refused.note


def change_matrices(folder: Path, change: np.ndarray, frames: list[int]) -> Path:
    path = folder / "transforms.json"
    content = json.loads(path.read_text())
    for index in frames:
        matrix = np.array(content["frames"][index]["transform_matrix"])
        matrix[:3, :3] = matrix[:3, :3] @ change
        content["frames"][index]["transform_matrix"] = matrix.tolist()
    path.write_text(json.dumps(content))
    return folder


def test_a_uniform_scale_is_taken_out_with_a_note(chair: Chair, tmp_path: Path) -> None:
    """As of a camera whose parent is scaled; where it stands is not touched."""
    folder = capture(tmp_path / "chair", chair, stored(chair, "opengl"))
    before = open_dataset(folder).record("chair").cameras.camera_to_world
    change_matrices(folder, np.eye(3) * 2.5, [3, 4])
    with collect() as heard:
        after = open_dataset(folder).record("chair").cameras.camera_to_world
    assert np.allclose(before, after, atol=1e-6)
    text = "transforms.json: the matrices of 2 cameras scale by 2.5, which was taken out"
    assert [(note.kind, note.text) for note in heard] == [("camera", text)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (np.diag([1, 2, 1]), r"the matrix of frame 3 is not rigid: its axes have the lengths 1, 2, 1; export"),
        (np.array([[1, 0.5, 0], [0.5, 1, 0], [0, 0, 1]]), "frame 3 is not rigid: .* are not at right angles"),
        (np.zeros((3, 3)), "frame 3 is not rigid"),
        (np.full((3, 3), np.nan), r"frames\.3\.transform_matrix\.0\.0: NaN is not a finite number"),
    ],
)
def test_matrices_that_no_camera_has_are_refused_with_their_frame(
    chair: Chair, tmp_path: Path, change: np.ndarray, message: str
) -> None:
    folder = change_matrices(capture(tmp_path / "chair", chair, stored(chair, "opengl")), change, [3])
    with pytest.raises(DatasetError, match=rf"transforms\.json: .*{message}"):
        open_dataset(folder).record("chair")


def test_row_vector_matrices_are_told_by_their_last_row(chair: Chair, tmp_path: Path) -> None:
    folder = capture(tmp_path / "chair", chair, [matrix.T for matrix in stored(chair, "opengl")])
    with pytest.raises(DatasetError, match=r"the last row of frame 0's matrix is .*transpose the matrices"):
        open_dataset(folder).record("chair")


def test_cameras_that_fit_under_no_convention_are_noted(chair: Chair, tmp_path: Path) -> None:
    """Every camera was turned by another angle: converted, because masks may also be at fault, and said."""
    folder = capture(tmp_path / "chair", chair, stored(chair, "opengl"))
    for index in range(12):
        angle = 0.05 * (1 if index % 2 else -1)
        turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
        change_matrices(folder, turn, [index])
    with collect() as heard:
        (result,) = convert(open_dataset(folder), Conversion(tmp_path / "out"))
    known = read_object(tmp_path / "out" / "objects" / "chair").extra.get("notes", []) if result.note == "" else []
    texts = [note.text for note in heard] + [note["text"] for note in known]
    assert result.status == "converted" and any("under no known convention" in text for text in texts)


def test_blendernerf_on_windows_is_read_and_test_views_may_be_missing(tmp_path: Path) -> None:
    folder = tmp_path / "capture"
    shutil.copytree(CAPTURES / "blendernerf_windows", folder)
    content = json.loads((folder / "transforms_train.json").read_text())
    assert "\\" in content["frames"][0]["file_path"]
    for frame in content["frames"]:
        frame["file_path"] = frame["file_path"].replace("train", "test")
    (folder / "transforms_test.json").write_text(json.dumps(content))
    with collect() as heard:
        record = open_dataset(folder).record("capture")
    assert record.views == 8 and record.size == (80, 120)
    assert [note.text for note in heard] == ["transforms_test.json lists 8 views, of which none was rendered; left out"]
    assert record.cameras.intrinsics[0].tolist() == pytest.approx([166.6667 / 120, 166.6667 / 80, 0.5, 0.5])
    (folder / "images_test").mkdir()
    shutil.copy(folder / "images_train" / "0001.png", folder / "images_test")
    with pytest.raises(DatasetError, match=r"0002\.png: the picture is missing"):
        convert_one(folder)


def convert_one(folder: Path) -> None:
    collection = open_dataset(folder)
    for view in range(collection.record("capture").views):
        collection.picture("capture", view)


def test_a_lens_in_transforms_train_is_seen(tmp_path: Path) -> None:
    """Its fl_x, cx and k1 count, not its field of view alone."""
    folder = tmp_path / "capture"
    shutil.copytree(CAPTURES / "blendernerf_windows", folder)
    path = folder / "transforms_train.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "fl_x": 150.0, "cx": 66.0}))
    assert open_dataset(folder).record("capture").cameras.intrinsics[0, [0, 2]].tolist() == pytest.approx([1.25, 0.55])
    path.write_text(json.dumps({**content, "k1": 0.05}))
    with pytest.raises(DatasetError, match=r"0001\.png is distorted \(k1 = 0\.05\); --undistort"):
        open_dataset(folder).record("capture")


def test_a_distorting_lens_is_one_finding(tmp_path: Path) -> None:
    outcome = CliRunner().invoke(app, ["check", str(CAPTURES / "ngp_k1"), "--out", str(tmp_path / "out"), "--json"])
    assert outcome.exit_code == 1, outcome.output
    (finding,) = json.loads(outcome.stdout)["found"]
    assert finding["check"] == "lens-distortion" and "k1 = 0.0578" in finding["text"]
    assert finding["advice"] == "tunemv3d data convert --undistort"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"00000/00000.json": '{"x": [], "y": [], "z": [], "origin": []}'}, "G-Objaverse's layout"),
        ({"uid/rgba/000.png": "", "uid/pose/000.npy": ""}, "OpenLRM's layout"),
        ({"chair/meta.json": '{"locations": []}', "chair/color_0000.webp": ""}, "bpy-renderer's layout"),
        ({"capture.zip": ""}, r"archive capture\.zip: unpack it first"),
    ],
)
def test_known_layouts_that_are_not_read_and_archives_have_a_hint(
    tmp_path: Path, files: dict[str, str], message: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    with pytest.raises(DatasetError, match=message):
        open_dataset(tmp_path)
    if "capture.zip" in files:
        with pytest.raises(DatasetError, match=r"capture\.zip: unpack it, and give its folder"):
            open_dataset(tmp_path / "capture.zip")
