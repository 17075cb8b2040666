"""A dataset in memory trains; broken readers and objects with too few views are refused; unseen sides are reported."""

import json
from pathlib import Path

import memory_dataset
import pytest
import train_stand_ins as tiny

from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.errors import DatasetError, SpecError
from tunemv3d_core.plugins.registry import registry
from tunemv3d_train.trainer import train


@pytest.fixture
def spec_file(offered: Path, tmp_path: Path) -> Path:
    memory_dataset.offer(offered)
    registry().clear()
    path = tiny.write_spec(tmp_path / "memory.json", tmp_path / "nowhere", steps=1)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"data": {"type": "memory"}}))
    return path


def test_a_dataset_in_memory_without_files_trains_a_step(
    spec_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = train(load_spec(spec_file), tmp_path / "run")
    assert outcome.step == 1 and outcome.preview is not None and outcome.preview.is_file()
    assert {"neus_novel", "denoise/t=50"} <= outcome.after.keys()
    assert "one side" not in capsys.readouterr().err


def test_an_object_with_too_few_views_is_refused_before_anything_is_written(spec_file: Path, tmp_path: Path) -> None:
    said = r"views: inputs 4 \+ novel 3 = 7, but object 'disc2' has only 6 views; lower views.inputs or views.novel"
    with pytest.raises(SpecError, match=said):
        train(load_spec(spec_file, ["data.views=6"]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_cameras_on_one_side_are_reported_once(
    spec_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(load_spec(spec_file, ["data.arc=150"]), tmp_path / "run")
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("all cameras stand on one side of the object") == 1
    assert "object 'disc0'" in said and "(its back left), and 2 more like it" in said


REFUSED = {
    "Bytes": r"^data: the dataset 'good': object 'red': the values of images go from 10 to 255; give",
    "OnBlack": r"object 'red': view \d is darker than white ground allows in \d+% of its pixels; composite",
    "WorldToCamera": r"camera 0; they are world-to-camera matrices: invert them",
    "Overlapping": r"object 'blue' is in both 'train' and 'held_out'; leave it in one split",
    "LettersAsCaptions": r"object 'red': its captions are one string, 'a ball', .*; give a tuple",
    "TooLong": r"record\(3\) raised IndexError: list index out of range; mend the dataset's reader",
    "Millimetres": r"100% of what view \d shows lies outside the unit sphere",
}
"""Readers of core's ``kit_datasets``, one of each question, and what is said of them."""


@pytest.mark.parametrize("part", REFUSED)
def test_a_broken_reader_is_refused_before_anything_is_written(offered: Path, tmp_path: Path, part: str) -> None:
    info = offered / "kit_parts-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kit-parts\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tunemv3d.dataset]\ngood = kit_plugins:GOOD_DATASET\n")
    registry().clear()
    path = tiny.write_spec(tmp_path / "good.json", tmp_path / "nowhere", steps=1)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"data": {"type": "good", "part": part}}))
    with pytest.raises(DatasetError, match=REFUSED[part]):
        train(load_spec(path), tmp_path / "run")
    assert not (tmp_path / "run").exists()
