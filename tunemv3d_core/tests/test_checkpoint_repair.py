"""``tunemv3d checkpoint verify`` and ``repair``: every damage is found, nothing whole is touched."""

import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import typer
from filelock import FileLock
from stand_ins import tiny_model

from tunemv3d_core.cli.checkpoint import repair, verify
from tunemv3d_core.errors import CheckpointError
from tunemv3d_core.io import checkpoint as module
from tunemv3d_core.io.checkpoint import check_checkpoint, load_state, load_weights, run_checkpoints, save_checkpoint

FILES = ["spec.json", "model.safetensors", "provenance.json", "state/values.json", "state/tensors.safetensors"]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run with checkpoints of the steps 1, 2 and 3."""
    monkeypatch.setattr(module, "canonical_json", lambda spec: '{"name": "tiny"}')
    monkeypatch.setattr(module, "spec_id", lambda spec: "abc")
    monkeypatch.setattr(module, "provenance_of", lambda spec, frozen, data: {"components": {}, "frozen": frozen})
    for step in (1, 2, 3):
        folder = tmp_path / "run" / "checkpoints" / f"step-{step:06d}"
        save_checkpoint(folder, tiny_model(), SimpleNamespace(model=None), state={"raw": torch.ones(3), "step": step})
    return tmp_path / "run"


def told(command, folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[list[dict], int]:
    code = 0
    try:
        command(folder, as_json=True)
    except typer.Exit as end:
        code = end.exit_code
    return json.loads(capsys.readouterr().out), code


def damage(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def test_whole_checkpoints_stay_as_they_are(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    for command in (verify, repair):
        found, code = told(command, run, capsys)
        assert code == 0 and [each["resumes"] for each in found] == [True] * 3
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert told(verify, run_checkpoints(run)[0], capsys)[0][0]["checkpoint"] == "step-000001"


@pytest.mark.parametrize("name", FILES)
def test_damage_is_found_and_set_aside(run: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    hurt = run / "checkpoints/step-000002"
    damage(hurt / name)
    content = (hurt / name).read_bytes()
    found, code = told(verify, run, capsys)
    assert code == 1 and [bool(each["problem"]) for each in found] == [False, True, False]
    assert Path(name).name in found[1]["problem"] and str(run) not in found[1]["problem"]
    found, code = told(repair, run, capsys)
    assert code == 1
    if name.startswith("state/"):
        assert (hurt / "state.damaged" / Path(name).name).read_bytes() == content
        check_checkpoint(hurt)
        load_weights(tiny_model(), hurt / "model.safetensors")
        with pytest.raises(CheckpointError, match="no state to resume"):
            load_state(hurt)
    else:
        assert (run / "checkpoints/step-000002.damaged" / name).read_bytes() == content
        assert [folder.name for folder in run_checkpoints(run)] == ["step-000001", "step-000003"]
    assert told(verify, run, capsys)[1] == 0


def test_numbers_that_are_not_finite_are_damage(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny_model()
    with torch.no_grad():
        next(p for p in model.field.parameters()).fill_(math.nan)
    save_checkpoint(run / "checkpoints/step-000004", model, SimpleNamespace(model=None))
    found, code = told(verify, run, capsys)
    assert code == 1 and "not finite" in found[3]["problem"] and not found[3]["samples"]


def test_half_written_folders_are_cleared_and_an_old_one_comes_back(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = run / "checkpoints"
    (checkpoints / "step-000003").rename(checkpoints / "step-000003.old")
    shutil.copytree(checkpoints / "step-000001", checkpoints / "step-000003.part")
    told(repair, run, capsys)
    assert sorted(path.name for path in checkpoints.iterdir()) == ["step-000001", "step-000002", "step-000003"]
    assert load_state(checkpoints / "step-000003")["step"] == 3


def test_a_run_at_work_is_left_alone(run: Path) -> None:
    with FileLock(run / ".lock"), pytest.raises(CheckpointError, match="a process trains in this folder"):
        repair(run)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    for command in (verify, repair):
        with pytest.raises(CheckpointError, match="no checkpoint, and no run that has one"):
            command(tmp_path)
