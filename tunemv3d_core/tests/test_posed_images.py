"""Pictures with cameras on disk: the round trip, the convention that others read, and messages."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import CameraError, DatasetError
from tunemv3d_core.io.posed_images import (
    DATASET_FORMAT,
    PosedImages,
    read_manifest,
    read_object,
    write_manifest,
    write_object,
)


def write(folder: Path) -> PosedImages:
    record = PosedImages(
        id="chair-1",
        files=("000.webp", "001.webp"),
        cameras=Cameras.orbit(2, elevation=25),
        size=(96, 128),
        captions=("a red chair",),
        licence="CC0-1.0",
        creator="Somebody",
        source="A library",
        extra={"ring": 2},
    )
    write_object(folder, record)
    return record


def test_round_trip(tmp_path: Path) -> None:
    record = write(tmp_path)
    back = read_object(tmp_path)
    assert torch.allclose(back.cameras.camera_to_world, record.cameras.camera_to_world, atol=1e-6)
    assert torch.allclose(back.cameras.intrinsics, record.cameras.intrinsics)
    assert (back.files, back.size, back.captions, back.extra) == (
        record.files,
        record.size,
        record.captions,
        {"ring": 2},
    )


def test_matrices_on_disk_look_along_minus_z_as_in_blender(tmp_path: Path) -> None:
    """In OpenGL axes the third column points from the object to the camera: away from the viewing direction."""
    write(tmp_path)
    matrix = torch.tensor(json.loads((tmp_path / "transforms.json").read_text())["frames"][0]["transform_matrix"])
    eye = matrix[:3, 3]
    assert torch.allclose(matrix[:3, 2], eye / eye.norm(), atol=1e-5)
    assert matrix[2, 1] > 0, "the second column is up"


def test_a_missing_key_and_a_sheared_camera_are_located(tmp_path: Path) -> None:
    write(tmp_path)
    path = tmp_path / "transforms.json"
    content = json.loads(path.read_text())
    sheared = json.loads(path.read_text())
    sheared["frames"][1]["transform_matrix"][0][0] += 0.3
    path.write_text(json.dumps(sheared))
    with pytest.raises(CameraError, match=r"transforms.json: camera 1 is not rigid"):
        read_object(tmp_path)
    del content["fl_x"]
    path.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=r"transforms.json: the key 'fl_x' is missing"):
        read_object(tmp_path)
    path.write_text("{")
    with pytest.raises(DatasetError, match="not JSON"):
        read_object(tmp_path)


def test_a_camera_inside_the_object_is_located(tmp_path: Path) -> None:
    write(tmp_path)
    path = tmp_path / "transforms.json"
    content = json.loads(path.read_text())
    for row in content["frames"][1]["transform_matrix"][:3]:
        row[3] /= 3  # from 2.7 to 0.9
    path.write_text(json.dumps(content))
    with pytest.raises(CameraError, match=re.escape(f"{path}: camera 1 lies inside the object's unit sphere: move")):
        read_object(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"captions": "a chair"}, "'captions' must be a list of texts, got \"a chair\""),
        ({"captions": None}, "'captions' must be a list of texts, got null"),
        ({"captions": [3]}, "'captions' must be a list of texts"),
        ({"w": 0}, "'w' and 'h' must be at least 1, got 0 and 96"),
        ({"frames": ["000.webp"]}, "'frames' must list at least one image, each as an object"),
    ],
)
def test_values_of_another_kind_are_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    write(tmp_path)
    path = tmp_path / "transforms.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DatasetError, match=re.escape(f"{path}: {message}")):
        read_object(tmp_path)


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        (["a"], "objects[0] should be"),
        ([{"id": "a"}, {"split": "train"}], "objects[1] should be"),
        ([{"id": "a"}, {"id": "b"}, {"id": "a"}], "object 'a' is listed twice"),
    ],
)
def test_a_manifest_with_a_faulty_entry_is_refused(tmp_path: Path, objects: list[object], message: str) -> None:
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({"format": DATASET_FORMAT, "objects": objects}))
    with pytest.raises(DatasetError, match=re.escape(f"{path}: {message}")):
        read_manifest(tmp_path)


def test_half_a_dataset_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"dataset\.json: no such file.*tunemv3d data render"):
        read_manifest(tmp_path)
    with pytest.raises(DatasetError, match=r"transforms\.json: no such file.*out of dataset\.json"):
        read_object(tmp_path)


def test_a_dataset_that_is_still_being_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps({"settings": {"views": 24}}))
    with pytest.raises(DatasetError, match="not finished yet; run the command"):
        read_manifest(tmp_path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").mkdir()
    with pytest.raises(DatasetError, match=r"dataset\.json: cannot be read: Is a directory"):
        read_manifest(tmp_path)


def test_manifest(tmp_path: Path) -> None:
    write_manifest(tmp_path, "chairs", {"a": "train", "b": "held_out"})
    assert read_manifest(tmp_path) == {"a": "train", "b": "held_out"}
    with pytest.raises(DatasetError, match="no such dataset folder"):
        read_manifest(tmp_path / "nothing")
    (tmp_path / "dataset.json").write_text('{"format": "other/2"}')
    with pytest.raises(DatasetError, match="other/2"):
        read_manifest(tmp_path)


def test_maps_are_named_per_frame_and_may_be_absent(tmp_path: Path) -> None:
    record = write(tmp_path / "without")
    assert read_object(tmp_path / "without").depth_files == () == read_object(tmp_path / "without").normal_files
    maps = {"depth_files": ("0.d.png", "1.d.png"), "normal_files": ("0.n.png", "1.n.png")}
    write_object(tmp_path / "with", replace(record, **maps))
    frames = json.loads((tmp_path / "with" / "transforms.json").read_text())["frames"]
    assert [frame["depth_file_path"] for frame in frames] == ["0.d.png", "1.d.png"]
    assert [frame["normal_file_path"] for frame in frames] == ["0.n.png", "1.n.png"]
    back = read_object(tmp_path / "with")
    assert (back.depth_files, back.normal_files) == (maps["depth_files"], maps["normal_files"])
    del frames[1]["depth_file_path"]
    path = tmp_path / "with" / "transforms.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"frames": frames}))
    with pytest.raises(DatasetError, match=re.escape(f"{path}: frame 1 has no 'depth_file_path', but others have")):
        read_object(tmp_path / "with")


def test_a_manifest_may_come_from_a_generator(tmp_path: Path) -> None:
    splits = {"a": "train", 'b "é"': "held_out"}
    write_manifest(tmp_path / "dict", "x", splits, settings={"views": 2})
    entries = ({"id": id_, "split": split} for id_, split in splits.items())
    write_manifest(tmp_path / "entries", "x", entries, settings={"views": 2})
    text = (tmp_path / "dict" / "dataset.json").read_text()
    assert (tmp_path / "entries" / "dataset.json").read_text() == text and read_manifest(tmp_path / "entries") == splits
    assert json.loads(text) == {
        **{"format": DATASET_FORMAT, "name": "x", "settings": {"views": 2}},
        "objects": [{"id": id_, "split": split} for id_, split in splits.items()],
    }


def test_a_record_may_name_no_files_but_not_some(tmp_path: Path) -> None:
    record = PosedImages("cup", Cameras.orbit(3), (8, 8), ("a cup",))
    assert record.views == 3 and record.files == ()
    with pytest.raises(DatasetError, match="object 'cup' names no image files"):
        write_object(tmp_path, record)
    with pytest.raises(DatasetError, match="object 'cup': 2 files for 3 cameras"):
        PosedImages("cup", Cameras.orbit(3), (8, 8), ("a cup",), ("0.png", "1.png"))
    with pytest.raises(DatasetError, match="1 depth_files for 3 cameras"):
        PosedImages("cup", Cameras.orbit(3), (8, 8), ("a cup",), depth_files=("0.png",))
