"""Runs that go on: from the newest good checkpoint, longer than planned, alone in their folder, with the same data."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import train_stand_ins as tiny
from child_processes import running
from filelock import FileLock
from safetensors.torch import load_file

from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.errors import CheckpointError, SpecError
from tunemv3d_core.io.checkpoint import find_checkpoint, run_checkpoints
from tunemv3d_core.io.checkpoint_repair import RUN_LOCK
from tunemv3d_train.trainer import train


@pytest.fixture
def spec(spec_file: Path) -> RunSpec:
    return load_spec(spec_file, ['optimizer.schedule={"type": "constant"}'])


def longer(spec: RunSpec, steps: int) -> RunSpec:
    return spec.model_copy(update={"train": spec.train.model_copy(update={"steps": steps})})


def weights_of(checkpoint: Path) -> dict[str, torch.Tensor]:
    return {**load_file(checkpoint / "model.safetensors"), **load_file(checkpoint / "state/tensors.safetensors")}


def same(one: Path, other: Path) -> bool:
    first, second = weights_of(one), weights_of(other)
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def logged(run: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def damage(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model.safetensors", "state/tensors.safetensors", "state/values.json"])
def test_a_run_goes_on_from_the_newest_good_checkpoint(
    spec: RunSpec, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = train(spec, tmp_path / "whole").checkpoint
    train(spec, tmp_path / "run")
    newest = run_checkpoints(tmp_path / "run")[-1]
    damage(newest / name)
    resumed = train(spec, tmp_path / "run", resume=True)
    assert "step-000006 is damaged and is kept as step-000006.damaged" in capsys.readouterr().err
    assert resumed.step == 6 and same(resumed.checkpoint, whole)
    assert (tmp_path / "run/checkpoints/step-000006.damaged").is_dir()
    assert find_checkpoint(tmp_path / "run") == resumed.checkpoint
    assert logged(tmp_path / "run") == logged(tmp_path / "whole")


def test_where_every_checkpoint_is_damaged_nothing_is_touched(spec: RunSpec, tmp_path: Path) -> None:
    train(spec, tmp_path / "run")
    for folder in run_checkpoints(tmp_path / "run"):
        damage(folder / "model.safetensors")
    before = sorted(path for path in tmp_path.rglob("*"))
    with pytest.raises(CheckpointError, match=r"is damaged .*No other checkpoint of this run is whole"):
        train(spec, tmp_path / "run", resume=True)
    assert sorted(path for path in tmp_path.rglob("*")) == before


def test_a_run_can_be_made_longer_and_is_the_long_run(spec: RunSpec, tmp_path: Path) -> None:
    long = longer(spec, 9)
    whole = train(long, tmp_path / "whole")
    train(spec, tmp_path / "run")
    resumed = train(long, tmp_path / "run", resume=True)
    assert resumed.step == 9 and same(resumed.checkpoint, whole.checkpoint)
    assert load_spec(tmp_path / "run/spec.json").train.steps == 9
    with pytest.raises(SpecError, match=r"has done 9 steps, more than train\.steps 6; ask for more with --steps"):
        train(spec, tmp_path / "run", resume=True)


def test_what_learns_nothing_may_change(spec_file: Path, tmp_path: Path) -> None:
    train(load_spec(spec_file), tmp_path / "run")
    shutil.rmtree(run_checkpoints(tmp_path / "run")[-1])
    changed = ["train.keep=5", "train.checkpoint_every=1", "train.log_every=1", "train.preview_every=1"]
    train(load_spec(spec_file, [*changed, "train.evaluate_every=1"]), tmp_path / "run", resume=True)
    assert [folder.name[-1] for folder in run_checkpoints(tmp_path / "run")] == ["4", "5", "6"]


def test_a_finished_run_has_nothing_to_do(spec: RunSpec, tmp_path: Path) -> None:
    first = train(spec, tmp_path / "run")
    kept = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*.*") if path.is_file()}
    again = train(spec, tmp_path / "run", resume=True)
    assert (again.step, again.preview) == (first.step, first.preview)
    assert again.after == pytest.approx(first.after, abs=1e-8)
    assert {path: path.read_bytes() for path in kept} == kept


def test_what_was_due_when_a_run_was_killed_is_made_up_for(spec: RunSpec, tmp_path: Path) -> None:
    every = spec.model_copy(
        update={"train": spec.train.model_copy(update={"preview_every": 2, "evaluate_every": 2, "checkpoint_every": 2})}
    )
    train(every, tmp_path / "whole")
    train(every, tmp_path / "run")
    # As if it had been killed right after the checkpoint of step 4 was renamed.
    run = tmp_path / "run"
    shutil.rmtree(run / "checkpoints/step-000006")
    for step in (4, 6):
        (run / f"previews/step-{step:06d}.png").unlink()
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    kept = [
        line for line in lines if json.loads(line)["step"] < 4 or ("loss" in line and json.loads(line)["step"] == 4)
    ]
    (run / "metrics.jsonl").write_text("".join(kept))
    train(every, run, resume=True)
    assert logged(run) == logged(tmp_path / "whole")
    for step in (4, 6):
        preview = f"previews/step-{step:06d}.png"
        assert (run / preview).read_bytes() == (tmp_path / "whole" / preview).read_bytes()


@pytest.mark.slow
def test_two_runs_in_one_folder_are_refused_and_a_killed_one_blocks_nobody(
    offered: Path, spec_file: Path, tmp_path: Path
) -> None:
    run = [sys.executable, "-m", "tunemv3d_train", str(spec_file), "--out", str(tmp_path / "run"), "--steps", "100000"]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with running(run, env=tiny.environment(offered), **pipes) as first:
        assert first.stderr is not None
        next(line for line in first.stderr if line.startswith("step 3 "))
        with pytest.raises(SpecError, match="another process trains in this folder"):
            train(load_spec(spec_file, ["train.steps=100000"]), tmp_path / "run", resume=True)
        first.send_signal(signal.SIGKILL)
    done = int(run_checkpoints(tmp_path / "run")[-1].name[5:])
    resumed = train(load_spec(spec_file, [f"train.steps={done + 1}"]), tmp_path / "run", resume=True)
    assert resumed.step == done + 1


def test_a_folder_in_which_another_works_is_refused_before_a_checkpoint_is_chosen(
    spec: RunSpec, tmp_path: Path
) -> None:
    train(spec, tmp_path / "run")
    # What the other one removes while this one reads it.
    for folder in run_checkpoints(tmp_path / "run"):
        shutil.rmtree(folder / "state")
    with (
        FileLock(tmp_path / "run" / RUN_LOCK),
        pytest.raises(SpecError, match="another process trains in this folder"),
    ):
        train(longer(spec, 9), tmp_path / "run", resume=True)


def test_leftovers_of_killed_writes_are_swept(spec: RunSpec, tmp_path: Path) -> None:
    train(spec, tmp_path / "run")
    shutil.rmtree(run_checkpoints(tmp_path / "run")[-1])
    left = ["checkpoints/step-000006.part/model.safetensors", "previews/step-000006.png.part", "spec.json.part"]
    for name in left:
        (tmp_path / "run" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "run" / name).touch()
    train(spec, tmp_path / "run", resume=True)
    assert not [path for path in (tmp_path / "run").rglob("*") if ".part" in path.name]


def test_a_run_that_was_killed_at_its_very_beginning_starts_again(spec: RunSpec, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for name in (".lock", "spec.json.part"):
        (tmp_path / "run" / name).write_text("{")
    assert train(spec, tmp_path / "run").step == 6


@pytest.mark.parametrize("change", ["pictures", "captions", "one more"])
def test_changed_data_is_noticed(spec: RunSpec, tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    train(spec, tmp_path / "run")
    shutil.rmtree(run_checkpoints(tmp_path / "run")[-1])
    discs = tmp_path / "discs"
    if change == "pictures":
        folders = [discs / "objects" / name for name in ("disc0", "disc1")]
        shutil.copy(folders[1] / "001.webp", folders[0] / "001.webp")
    elif change == "captions":
        record = discs / "objects/disc0/transforms.json"
        record.write_text(
            record.read_text().replace('"captions"', '"captions_before"').replace("{", '{"captions": ["x"],', 1)
        )
    else:
        shutil.rmtree(discs)
        tiny.write_dataset(discs, splits=("train", "train", "train", "held_out"))
    with pytest.raises(CheckpointError, match=r"(?s)dataset is not the one .*set TUNEMV3D_PROVENANCE=warn"):
        train(spec, tmp_path / "run", resume=True)
    monkeypatch.setenv("TUNEMV3D_PROVENANCE", "ignore")
    assert train(spec, tmp_path / "run", resume=True).step == 6
