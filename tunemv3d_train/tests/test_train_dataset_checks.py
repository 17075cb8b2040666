"""A dataset in memory trains; one with too few views is refused by name; one seen from one side alone is reported."""

import json
from pathlib import Path

import memory_dataset
import pytest
import train_stand_ins as tiny

from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.errors import SpecError
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
