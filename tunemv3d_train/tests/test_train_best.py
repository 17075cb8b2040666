"""The best checkpoint by a figure is kept beside the newest."""

import json
from pathlib import Path

import pytest
import train_stand_ins as tiny

from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.errors import SpecError
from tunemv3d_core.io.checkpoint import load_checkpoint, run_checkpoints
from tunemv3d_train.evaluation import Figures, Measurement
from tunemv3d_train.runs import RunFolder
from tunemv3d_train.trainer import train

EVERY = ["train.steps=12", "train.checkpoint_every=2", "train.evaluate_every=2", "train.keep=1"]


def names(run: Path) -> list[str]:
    return [folder.name for folder in run_checkpoints(run)]


def measures(values: list[float], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the measurement give one figure these values, one after the other, whoever trains."""
    whole, left = Measurement.__call__, list(values)

    def given(self: Measurement) -> Figures:
        return {**whole(self), name: left.pop(0)}

    monkeypatch.setattr(Measurement, "__call__", given)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "values", "best"),
    [
        ("neus_novel", [0.9, 0.5, 0.3, 0.4, 0.6, 0.7, 0.8], 4),
        ("opacity_iou", [0.1, 0.2, 0.3, 0.9, 0.6, 0.7, 0.8], 6),
        ("neus_novel", [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3], 12),
        ("neus_novel", [0.1, 0.5, float("nan"), 0.4, 0.4, 0.7, 0.8], 8),
    ],
)
def test_the_best_is_kept_beside_the_newest(
    name: str, values: list[float], best: int, spec_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measures(values, name, monkeypatch)
    outcome = train(load_spec(spec_file, [*EVERY, f"train.keep_best={name}"]), tmp_path / "run")
    assert outcome.best == tmp_path / f"run/checkpoints/step-{best:06d}"
    assert f"step-{best:06d}" in names(tmp_path / "run") and names(tmp_path / "run")[-1] == "step-000012"
    assert len(names(tmp_path / "run")) <= 2 + (best == 12)
    load_checkpoint(outcome.best)


def test_a_resumed_run_remembers_which_was_best(
    spec_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measures([0.9, 0.1, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], "neus", monkeypatch)
    spec = load_spec(
        spec_file, [*EVERY, "train.steps=6", "train.keep_best=neus", 'optimizer.schedule={"type": "constant"}']
    )
    train(spec, tmp_path / "run")
    more = load_spec(spec_file, [*EVERY, "train.keep_best=neus", 'optimizer.schedule={"type": "constant"}'])
    train(more, tmp_path / "run", resume=True)
    assert names(tmp_path / "run") == ["step-000002", "step-000012"]


def test_what_is_not_measured_is_refused_by_name(spec_file: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"keep_best: 'neus' is not measured between; set evaluate_every"):
        load_spec(spec_file, ["train.keep_best=neus"])
    with pytest.raises(SpecError, match=r"train\.keep_best: no figure 'neus_nowel'.* Did you mean 'neus_novel'"):
        train(load_spec(spec_file, [*EVERY, "train.keep_best=neus_nowel"]), tmp_path / "run")


def test_without_it_the_newest_alone_are_kept(tmp_path: Path, spec_file: Path) -> None:
    folder = RunFolder(tmp_path / "run", load_spec(spec_file))
    assert folder.best() is None and json.loads(spec_file.read_text())["name"] == "tiny" and tiny.SIZE
