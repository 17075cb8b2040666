"""A checkpoint is whole or it is not there; what it needs is said when it is missing."""

import json
import os
import random
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from stand_ins import TinyLifter, tiny_inputs, tiny_model

from tunemv3d_core.errors import CheckpointError
from tunemv3d_core.io import checkpoint as module
from tunemv3d_core.io.checkpoint import (
    check_checkpoint,
    find_checkpoint,
    load_state,
    load_weights,
    run_checkpoints,
    save_checkpoint,
    trainable_tensors,
    write_record,
)
from tunemv3d_core.io.provenance import check_components, check_frozen


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint of the stand-in model; what a spec and the registry would say is put in place of them."""
    spec = SimpleNamespace(model=None)
    monkeypatch.setattr(module, "canonical_json", lambda spec: '{"name": "tiny"}')
    monkeypatch.setattr(module, "spec_id", lambda spec: "abc")
    monkeypatch.setattr(module, "provenance_of", lambda spec, frozen, data: {"components": {}, "frozen": frozen})
    state = {"optimizer.0.exp_avg": torch.arange(3.0), "step": 7, "sampler": {"epoch": 2}}
    return save_checkpoint(tmp_path / "checkpoints" / "step-000007", tiny_model(), spec, state=state)


def test_round_trip_of_weights_and_state(saved: Path) -> None:
    torch.manual_seed(5)
    model, other = tiny_model(), tiny_model()
    with torch.no_grad():
        for parameter in other.field.parameters():
            parameter.add_(1.0)
    load_weights(other, saved / "model.safetensors")
    inputs = tiny_inputs()
    assert torch.equal(other(**inputs).x0, model(**inputs).x0)
    state = load_state(saved)
    assert torch.equal(state["optimizer.0.exp_avg"], torch.arange(3.0))
    assert (state["step"], state["sampler"]) == (7, {"epoch": 2})


def test_frozen_weights_are_not_stored(saved: Path) -> None:
    names = trainable_tensors(tiny_model())
    assert names and not [name for name in names if name.startswith("backbone.")]


def test_frozen_weights_that_a_lifter_shares_are_not_stored_either(saved: Path) -> None:
    model, own = tiny_model(), trainable_tensors(tiny_model())
    model.lifter.shared = model.backbone.down
    assert "lifter.shared.weight" in model.state_dict() and trainable_tensors(model).keys() == own.keys()
    load_weights(model, saved / "model.safetensors")
    model.backbone.down.requires_grad_(True)
    assert {"backbone.down.weight", "lifter.layer.weight"} <= trainable_tensors(model).keys()


def test_half_precision_storage_loads_into_full(tmp_path: Path, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half = save_checkpoint(tmp_path / "half", tiny_model(), SimpleNamespace(model=None), dtype=torch.float16)
    model = tiny_model()
    load_weights(model, half / "model.safetensors")
    assert model.field.layer.weight.dtype == torch.float32
    assert torch.equal(model.field.layer.weight, tiny_model().field.layer.weight.half().float())


def test_a_damaged_or_incomplete_checkpoint_is_refused(saved: Path) -> None:
    weights = saved / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CheckpointError, match=r"model.safetensors is damaged"):
        module.load_checkpoint(saved)
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"incomplete, model.safetensors is missing"):
        module.load_checkpoint(saved)


@pytest.mark.parametrize(
    "name", ["spec.json", "model.safetensors", "provenance.json", "state/values.json", "state/tensors.safetensors"]
)
def test_no_flipped_bit_goes_unnoticed(saved: Path, name: str) -> None:
    content = (saved / name).read_bytes()
    generator = random.Random(0)
    for _ in range(60):
        at, bit = generator.randrange(len(content)), generator.randrange(8)
        (saved / name).write_bytes(content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :])
        with pytest.raises(CheckpointError, match=str(saved)):
            load_state(saved)
    (saved / name).write_bytes(content)
    assert load_state(saved)["step"] == 7


def test_checksums_that_are_left_out_are_missed(saved: Path) -> None:
    record = json.loads((saved / "provenance.json").read_text())
    for name in record["files"]:
        write_record(saved, record | {"files": {k: v for k, v in record["files"].items() if k != name}})
        with pytest.raises(CheckpointError, match=f"no checksum of {name}"):
            check_checkpoint(saved, state=True)


def test_checkpoints_of_the_first_format_are_read(saved: Path) -> None:
    record = json.loads((saved / "provenance.json").read_text())
    files = {name: record["files"][name] for name in ("spec.json", "model.safetensors")}
    del record["checksum"]
    (saved / "provenance.json").write_text(json.dumps(record | {"format": "tunemv3d-checkpoint/1", "files": files}))
    assert load_state(saved)["step"] == 7


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc which file is synced")
def test_a_checkpoint_is_on_the_disk_before_its_name_is(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: dict[Path, int] = {}
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        real_fsync(descriptor)
        synced[Path(f"/proc/self/fd/{descriptor}").resolve()] = os.fstat(descriptor).st_size

    def replace(beside: Path, place: Path) -> None:
        if Path(beside).is_dir():
            assert all(synced.get(f) == f.stat().st_size for f in Path(beside).rglob("*") if f.is_file())
            assert {Path(beside), Path(beside) / "state"} <= synced.keys(), "names within a folder too"
        real_replace(beside, place)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    place = saved.with_name("step-000008")
    save_checkpoint(place, tiny_model(), SimpleNamespace(model=None), state={"step": 8})
    assert load_state(place)["step"] == 8 and list(synced)[-1] == saved.parent, "the new name at the end"


def test_an_unreadable_checkpoint_is_told_wherever_it_is_read(saved: Path) -> None:
    weights, values, tensors = (
        saved / f for f in ("model.safetensors", "state/values.json", "state/tensors.safetensors")
    )
    for path in (values, tensors, weights):
        content = path.read_bytes()
        path.write_bytes(content[:12])
        with pytest.raises(
            CheckpointError, match=rf"{path.name}.*; remove {saved} to resume from the checkpoint before"
        ):
            load_state(saved)
        if path == weights:
            with pytest.raises(CheckpointError, match=r"model\.safetensors: cannot be read"):
                load_weights(tiny_model(), weights)
        path.write_bytes(content)
    load_state(saved)


def test_an_interrupted_write_leaves_nothing(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(saved.with_name("step-000008"), tiny_model(), SimpleNamespace(model=None))
    assert list(saved.parent.iterdir()) == [saved]


def test_another_format_is_refused(saved: Path) -> None:
    (saved / "provenance.json").write_text(json.dumps({"format": "other/3"}))
    with pytest.raises(CheckpointError, match="other/3"):
        module.load_checkpoint(saved)


def test_a_run_gives_its_last_whole_checkpoint(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / "step-000009.part").mkdir()
    (tmp_path / "checkpoints" / "step-000008").mkdir()
    shutil.copytree(saved, saved.with_name("step-000007 copy"))
    assert run_checkpoints(tmp_path) == [saved], "neither an interrupted write nor an empty folder counts"
    assert find_checkpoint(tmp_path) == saved
    with pytest.raises(CheckpointError, match="no checkpoint"):
        find_checkpoint(tmp_path / "nowhere")


def test_a_failed_write_keeps_the_old_checkpoint(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (saved / "provenance.json").read_text()

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        save_checkpoint(saved, tiny_model(), SimpleNamespace(model=None))
    assert (saved / "provenance.json").read_text() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_weights_of_another_model_are_refused(saved: Path) -> None:
    with pytest.raises(CheckpointError, match=r"of another shape \(lifter.layer.bias"):
        other = tiny_model(lifter=TinyLifter())
        other.lifter.layer = torch.nn.Conv2d(8, 15, 1)
        load_weights(other, saved / "model.safetensors")


def test_a_missing_component_says_what_to_install(tmp_path: Path) -> None:
    recorded = {"field": {"type": "gone", "distribution": "tunemv3d-volume", "version": "1.2", "api": "1.0"}}
    with pytest.raises(CheckpointError, match=r"pip install tunemv3d-volume==1\.2"):
        check_components(recorded, tmp_path)
    for stranger in ("tunemv3d-evil", "numpy", "tunemv3d-neus-x"):
        recorded["field"]["distribution"] = stranger
        with pytest.raises(CheckpointError, match=f"'{stranger}==1.2' is not of this project") as refused:
            check_components(recorded, tmp_path)
        assert "pip install" not in str(refused.value)


def record_of(folder: Path, **changes: Any) -> None:
    """Change a checkpoint's provenance as whoever made it would: with the right checksum."""
    record = json.loads((folder / "provenance.json").read_text())
    write_record(folder, {key: value for key, value in (record | changes).items() if key != "checksum"})


@pytest.mark.parametrize(
    "changes",
    [
        {"files": {"../../secret": "ab", "spec.json": "ab", "model.safetensors": "ab"}},
        {"files": {"/etc/passwd": "ab"}},
        {"components": {"field\nerror: x": {"type": "a", "distribution": "b", "version": "1"}}},
        {"components": {"field": {"type": "a\x1b[2J", "distribution": "b", "version": "1"}}},
        {"components": {"field": {"type": "a", "distribution": "b", "version": "1", "slot": "x y"}}},
    ],
)
def test_a_strangers_provenance_names_only_files_and_components(saved: Path, changes: dict[str, Any]) -> None:
    record_of(saved, **changes)
    with pytest.raises(CheckpointError) as refused:
        check_checkpoint(saved)
    assert "restore the file from a copy" in str(refused.value) and "\x1b" not in str(refused.value)
    assert len(str(refused.value).split("\n")) == 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such files here")
@pytest.mark.parametrize("name", ["provenance.json", "spec.json", "model.safetensors", "state/values.json"])
def test_pipes_in_a_checkpoint_are_refused_at_once(saved: Path, name: str) -> None:
    (saved / name).unlink()
    os.mkfifo(saved / name)
    with pytest.raises(CheckpointError):
        load_state(saved)


def test_another_frozen_model_is_noticed() -> None:
    assert check_frozen({"unet": "a"}, {"unet": "a", "vae": "b"}) == []
    assert "different: unet" in check_frozen({"unet": "a"}, {"unet": "c"})[0]


def test_a_millionth_step_is_newer_than_the_one_before(saved: Path) -> None:
    run = saved.parent.parent
    for step in (999_999, 1_000_000):
        shutil.copytree(saved, saved.parent / f"step-{step:06d}")
    assert [folder.name for folder in run_checkpoints(run)] == ["step-000007", "step-999999", "step-1000000"]
    assert find_checkpoint(run).name == "step-1000000"


@pytest.mark.parametrize("kind", [torch.int64, torch.bool, torch.float8_e4m3fn])
def test_weights_of_another_kind_of_number_are_refused_by_name(saved: Path, kind: torch.dtype) -> None:
    weights = load_file(saved / "model.safetensors")
    save_file({name: tensor.to(kind) for name, tensor in weights.items()}, saved / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"of another kind of number \(field\.layer\.\w+ "):
        load_weights(tiny_model(), saved / "other.safetensors")


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_not_finite_are_refused_by_name(saved: Path, value: float) -> None:
    weights = load_file(saved / "model.safetensors")
    weights["lifter.layer.bias"][2] = value
    save_file(weights, saved / "other.safetensors")
    model, before = tiny_model(), tiny_model().lifter.layer.bias.clone()
    with pytest.raises(CheckpointError, match=r"1 tensors hold numbers that are not finite \(lifter\.layer\.bias "):
        load_weights(model, saved / "other.safetensors")
    assert torch.equal(model.lifter.layer.bias, before)
