"""COLMAP's files against COLMAP's own reading of them (pycolmap 4.2.1), and NeuS' projections."""

import base64
from pathlib import Path

import numpy as np
import pytest
from other_layouts import Chair, half, save, write_colmap, write_neus
from PIL import Image

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.conversion.convert import Conversion, convert
from tunemv3d_data.layouts import open_dataset
from tunemv3d_data.layouts.colmap_files import read_model
from tunemv3d_data.notes import collect

CAMERAS_BIN = base64.b64decode(
    "AgAAAAAAAAADAAAABAAAAFAAAAAAAAAAPAAAAAAAAAAAAAAAAIBWQAAAAAAAwFdAAAAAAABAREAAAAAAAAA9QLgehetRuL4/mpmZ"
    "mZmZqb97FK5H4XqEP3sUrkfhepS/CAAAAAAAAABAAAAAAAAAADAAAAAAAAAAAAAAAACAUUAAAAAAAABAQAAAAAAAADhA"
)
IMAGES_BIN = base64.b64decode(
    "AwAAAAAAAAACAAAAhFodpl+T5z/rRvNvGo/iP5GIptv01sA/yWbOjQyY1D9BhNuJ7RfAP8xFvenP6MC/bbBopFd+5D8DAAAAYi94"
    "IDEucG5nAAAAAAAAAAAAAwAAAMrozEUKSuA/KLVlW/Co6L+8uoBxH5PSP3RoaGttCdA/8NSE7Lvauj/tQ+YYNCThv+bRzpVfJNc/"
    "CAAAAGEucG5nAAIAAAAAAAAAJCW8SfNDOEBo1P52Cy49QP//////////c0oxTLi+NUDGMpcgkrNCQP//////////BAAAAIic6o5e"
    "QeM/v0ZfbMqRw7/MUw4pAiOVv5bHXny7E+m/+/QgSd3x47/jDIvDrSilP4MjGrypmQLAAwAAAGMucG5nAAQAAAAAAAAA6MLiIKl+"
    "9T94mDb5qy89QP//////////tHMnrtoaHEAlyYngeUNBQP//////////U+LoGZCoNUCVbgZ6GfonQP//////////ED5rMFHoMECQ"
    "EoIZ5R/yP///////////"
)
"""A model of two cameras and three images that pycolmap wrote: OPENCV and SIMPLE_PINHOLE, 0, 2 and 4 keypoints."""

WORLD_TO_CAMERA = {
    "a.png": [[0.705957, -0.70242, -0.090722, 0.1049], [-0.19221, -0.313294, 0.930001, -0.535669],
              [-0.681674, -0.639104, -0.356184, 0.361595]],
    "b/x 1.png": [[0.758299, -0.321536, 0.567096, 0.12573], [0.626738, 0.120188, -0.769905, -0.132105],
                  [0.179394, 0.939239, 0.292657, 0.640423]],
    "c.png": [[-0.229094, 0.949413, 0.214781, -0.623274], [-0.93679, -0.274991, 0.216344, 0.041326],
              [0.264463, -0.151641, 0.952399, -2.325031]],
}  # fmt: skip
"""As pycolmap's ``cam_from_world`` has them."""


def model(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cameras.bin").write_bytes(CAMERAS_BIN)
    (folder / "images.bin").write_bytes(IMAGES_BIN)
    return folder


def test_binary_files_are_read_as_colmap_reads_them(tmp_path: Path) -> None:
    lenses, images = read_model(model(tmp_path))
    assert [(image.name, image.camera) for image in images] == [("a.png", 8), ("b/x 1.png", 3), ("c.png", 3)]
    for image in images:
        assert np.abs(image.world_to_camera[:3] - WORLD_TO_CAMERA[image.name]).max() < 1e-6
    assert lenses[3].size == (60, 80) and lenses[8].size == (48, 64)
    assert lenses[3].distortion == (("k1", 0.12), ("k2", -0.05), ("p1", 0.01), ("p2", -0.02))
    assert lenses[3].intrinsics == pytest.approx((90 / 80, 95 / 60, 40.5 / 80, 29 / 60)) and lenses[8].is_pinhole


def test_half_files_and_other_things_are_refused(tmp_path: Path) -> None:
    folder = model(tmp_path)
    for name, whole in (("cameras.bin", CAMERAS_BIN), ("images.bin", IMAGES_BIN)):
        for content in (whole[:-9], whole[:30], b"", b"\xff" * 40):
            (folder / name).write_bytes(content)
            with pytest.raises(DatasetError):
                read_model(folder)
        (folder / name).write_bytes(whole)
    (folder / "images.bin").write_bytes(b"\0" * 8)
    with pytest.raises(DatasetError, match=r"images\.bin: no picture is registered"):
        read_model(folder)
    (folder / "images.bin").write_bytes(IMAGES_BIN)
    (folder / "cameras.bin").unlink()
    with pytest.raises(DatasetError, match=r"cameras\.bin: no such file"):
        read_model(folder)


@pytest.mark.parametrize(
    ("camera", "message"),
    [
        ("FOV 80 60 90 90 40 30 0.9", "camera 1: camera model FOV is not read; run colmap image_undistorter first"),
        ("PINHOLE 80 60 90 40 30", "camera 1: 3 parameters of PINHOLE, which has 4"),
        ("PINHOLE 80 60 nan 90 40 30", "camera 1: 'fl_x' is not a finite number"),
        ("PINHOLE 80 sixty 90 90 40 30", r"cameras\.txt or images\.txt is damaged"),
    ],
)
def test_cameras_that_cannot_be_read_are_said(tmp_path: Path, camera: str, message: str) -> None:
    (tmp_path / "cameras.txt").write_text(f"1 {camera}\n")
    (tmp_path / "images.txt").write_text("1 1 0 0 0 0 0 3 1 a.png\n\n")
    with pytest.raises(DatasetError, match=message):
        read_model(tmp_path)


def test_the_largest_model_is_taken_and_pictures_without_a_pose_are_counted(tmp_path: Path) -> None:
    chair = Chair(6)
    write_colmap(tmp_path / "capture", chair)
    model(tmp_path / "capture" / "sparse" / "1")
    save(tmp_path / "capture" / "images" / "frame 99.png", chair.pictures[0])
    with collect() as heard:
        record = open_dataset(tmp_path).record("capture")
    assert record.views == 6 and record.files[0] == "images/frame 00.png"
    assert [note.text for note in heard] == [
        "0 has 6 pictures, the most of 2 models; the others are left",
        "1 of 7 pictures have no pose: COLMAP did not register them",
    ]


def test_masks_lie_beside_and_cut_the_object_out(tmp_path: Path) -> None:
    """As COLMAP names masks, the picture's name and .png; without any, what to do is said."""
    chair = Chair(6)
    write_colmap(tmp_path / "capture", chair)
    pictures = tmp_path / "capture" / "images"
    for file in pictures.iterdir():
        Image.open(file).convert("RGB").save(file)
    (result,) = convert(open_dataset(tmp_path), Conversion(tmp_path / "out"))
    assert result.status == "refused" and "rembg p -om images masks" in result.note
    for index, file in enumerate(sorted(pictures.iterdir())):
        alpha = chair.pictures[index][..., 3]
        save(tmp_path / "capture" / "masks" / f"{file.name}.png", alpha if index % 2 else half(alpha))
    (result,) = convert(open_dataset(tmp_path), Conversion(tmp_path / "out2"))
    assert result.status == "converted", result.note
    (tmp_path / "capture" / "masks" / f"{file.name}.png").unlink()
    with pytest.raises(DatasetError, match="5 of 6 frames have a mask"):
        open_dataset(tmp_path).record("capture")


def test_neus_files_that_hold_something_else_are_refused(tmp_path: Path) -> None:
    write_neus(tmp_path, Chair(4))
    path = tmp_path / "scan" / "cameras_sphere.npz"
    arrays = dict(np.load(path))
    for change, message in (
        ({"world_mat_2": np.zeros((4, 4))}, "camera 2: the matrix projects nothing"),
        ({"world_mat_1": np.full((4, 4), np.nan)}, "not plain numpy arrays of 4 x 4 numbers"),
        ({"world_mat_1": np.eye(3)}, "not plain numpy arrays"),
        ({"scale_mat_3": None}, "scale_mat_3.* is missing; there are 4 pictures"),
        ({"world_mat_0": skewed(arrays["world_mat_0"])}, "camera 0: its pixels are skewed by 0.1"),
    ):
        np.savez(path, **{name: value for name, value in {**arrays, **change}.items() if value is not None})
        with pytest.raises(DatasetError, match=message):
            open_dataset(tmp_path).record("scan")
    path.write_bytes(b"PK\x03\x04 half")
    with pytest.raises(DatasetError, match=r"cameras_sphere\.npz: not plain numpy arrays"):
        open_dataset(tmp_path).record("scan")


def skewed(projection: np.ndarray) -> np.ndarray:
    focal = np.linalg.norm(np.cross(projection[0, :3], projection[2, :3]))
    camera = np.array([[focal, 0, 63.5, 0], [0, focal, 63.5, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    bent = camera.copy()
    bent[0, 1] = 0.1 * focal
    return bent @ np.linalg.inv(camera) @ projection
