"""Whole runs of a tiny model: resuming, interrupting, refusing, and what a run folder holds."""

import json
import os
import shutil
import signal
import warnings
from pathlib import Path

import pytest
import torch
import train_stand_ins as tiny
from PIL import Image
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.config.run_spec import RunSpec, canonical_json
from tunemv3d_core.errors import CheckpointError, DatasetError, SpecError, TuneMV3DError, TuneMV3DWarning
from tunemv3d_core.io import checkpoint
from tunemv3d_core.plugins.registry import registry
from tunemv3d_train.events import EventFile
from tunemv3d_train.runs import RunFolder
from tunemv3d_train.trainer import Trainer, train


def metrics(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def untimed(record: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in record.items() if name not in ("seconds", "steps_per_s")}


@pytest.fixture
def spec(spec_file: Path) -> RunSpec:
    return load_spec(spec_file)


def stop_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send this process a Ctrl-C in the middle of a step."""
    whole = Trainer.step

    def interrupted(self: Trainer, step: int) -> None:
        if step == steps:
            os.kill(os.getpid(), signal.SIGINT)
        whole(self, step)

    monkeypatch.setattr(Trainer, "step", interrupted)


@pytest.mark.slow
def test_resuming_equals_no_interruption_bitwise(
    spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(spec, tmp_path / "whole")
    with monkeypatch.context() as patched:
        stop_after(2, patched)
        stopped = train(spec, tmp_path / "parts")
    assert (stopped.interrupted, stopped.step, stopped.checkpoint.name) == (True, 3, "step-000003")
    resumed = train(spec, tmp_path / "parts", resume=True)
    assert not resumed.interrupted and resumed.step == 6
    for file in ("model.safetensors", "state/tensors.safetensors"):
        first, second = load_file(whole.checkpoint / file), load_file(resumed.checkpoint / file)
        assert first.keys() == second.keys() and len(first) > 5
        assert all(torch.equal(first[name], second[name]) for name in first), file
    records = [metrics(tmp_path / name) for name in ("whole", "parts")]
    assert [untimed(r) for r in records[0]] == [untimed(r) for r in records[1]]
    assert (resumed.before, resumed.after) == (whole.before, whole.after)


def test_gradients_are_clipped_at_a_norm_and_at_zero_left_as_they_are(spec_file: Path, tmp_path: Path) -> None:
    # With an eps far above the gradients, AdamW's step is in proportion to them.
    given = ["train.steps=1", "optimizer.algorithm.eps=1e6"]
    finals = {}
    for clip in ("0", "1e9", "1e-4"):
        run = train(load_spec(spec_file, [*given, f"optimizer.clip={clip}"]), tmp_path / clip)
        finals[clip] = load_file(run.checkpoint / "model.safetensors")
    assert all(torch.equal(finals["0"][name], finals["1e9"][name]) for name in finals["0"])
    assert any(not torch.equal(finals["0"][name], finals["1e-4"][name]) for name in finals["0"])


def test_training_lowers_the_losses_and_leaves_the_frozen_model_alone(spec_file: Path, tmp_path: Path) -> None:
    spec = load_spec(spec_file, ["train.steps=60", "train.checkpoint_every=30", "train.log_every=20"])
    outcome = train(spec, tmp_path / "run")
    assert outcome.after["neus_inputs"] < 0.8 * outcome.before["neus_inputs"]
    assert outcome.after["neus_novel"] < 0.8 * outcome.before["neus_novel"]
    n, m = spec.views.inputs, spec.views.novel
    whole = (n * outcome.after["neus_inputs"] + m * outcome.after["neus_novel"]) / (n + m)
    assert outcome.after["neus"] == pytest.approx(whole, rel=1e-5)
    for t in (50, 500, 950):
        assert outcome.before[f"denoise/t={t}"] == outcome.before[f"denoise_frozen/t={t}"]
        assert outcome.after[f"denoise/t={t}"] < outcome.after[f"denoise_frozen/t={t}"]
    assert not [name for name in load_file(outcome.checkpoint / "model.safetensors") if name.startswith("backbone")]


def test_a_run_folder_holds_what_the_design_says(spec: RunSpec, tmp_path: Path) -> None:
    outcome = train(spec, tmp_path / "run")
    kept = sorted(folder.name for folder in (tmp_path / "run/checkpoints").iterdir())
    assert kept == ["step-000004", "step-000006"]
    records = metrics(tmp_path / "run")
    assert [r["step"] for r in records] == [0, 1, 2, 3, 4, 5, 6, 6]
    assert {"loss", "denoise", "neus", "mask", "eikonal", "lr", "steps_per_s", "seconds"} <= records[1].keys()
    assert records[0]["held_out/neus_inputs"] == pytest.approx(outcome.before["neus_inputs"], abs=1e-7)
    provenance = json.loads((outcome.checkpoint / "provenance.json").read_text())
    assert provenance["data"]["licences"] == {"CC0-1.0": 3}
    assert list(provenance["data"]["sources"]) == ["CC0-1.0"] and len(provenance["data"]["sources"]["CC0-1.0"]) == 3
    assert outcome.preview is not None
    with Image.open(outcome.preview) as picture:
        assert picture.size[0] == 4 * tiny.SIZE and len(picture.getcolors(100_000)) > 10
    loaded, model = checkpoint.load_checkpoint(tmp_path / "run")
    assert loaded == spec and not model.training


def test_the_checkpoint_publishes_the_average_and_resumes_from_the_raw_weights(spec: RunSpec, tmp_path: Path) -> None:
    outcome = train(spec, tmp_path / "run")
    published = load_file(outcome.checkpoint / "model.safetensors")
    state = load_file(outcome.checkpoint / "state/tensors.safetensors")
    assert not torch.equal(published["field.head.weight"], state["raw/field.head.weight"])


def test_going_on_with_another_version_is_told_and_refused_as_the_user_chose(
    spec: RunSpec, spec_file: Path, offered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TUNEMV3D_PROVENANCE", raising=False)
    outcome = train(spec, tmp_path / "run")
    with warnings.catch_warnings():
        warnings.simplefilter("error", TuneMV3DWarning)
        train(spec, tmp_path / "run", resume=True)
    (info,) = offered.glob("*.dist-info")
    info.rename(offered / "tiny_train-1.1.dist-info")
    registry().clear()
    line = (
        rf"^{outcome.checkpoint}: saved with tiny-train==1\.0, tiny-train==1\.1 is installed \(backbone 'tiny-train', "
    )
    from_it = load_spec(spec_file, [f"train.start_from={tmp_path / 'run'}"])
    for number, (resolved, resume) in enumerate([(spec, True), (from_it, False)]):
        monkeypatch.setenv("TUNEMV3D_PROVENANCE", "error")
        folder = tmp_path / ("run" if resume else f"run{number}")
        with pytest.raises(CheckpointError, match=line):
            train(resolved, folder, resume=resume)
        monkeypatch.setenv("TUNEMV3D_PROVENANCE", "warn")
        with pytest.warns(TuneMV3DWarning, match=line):
            train(resolved, folder, resume=resume)


def test_accumulated_passes_make_one_optimizer_step(spec_file: Path, tmp_path: Path) -> None:
    spec = load_spec(spec_file, ["train.accumulate=2", "train.steps=2", "train.ema=0"])
    outcome = train(spec, tmp_path / "run")
    state = load_file(outcome.checkpoint / "state/tensors.safetensors")
    steps = {int(value) for name, value in state.items() if name.startswith("step/")}
    assert outcome.step == 2 and steps == {2}


def test_plain_fine_tuning_runs_under_the_same_trainer(tmp_path: Path, offered: Path) -> None:
    data = tiny.write_dataset(tmp_path / "discs")
    spec = load_spec(
        tiny.write_spec(tmp_path / "plain.json", data, field=False), ["optimizer.parts.field.lr_scale=1.0"]
    )
    with pytest.raises(SpecError, match="no trainable parameter"):
        train(spec, tmp_path / "run")
    content = json.loads((tmp_path / "plain.json").read_text())
    content["optimizer"]["parts"] = {}
    (tmp_path / "plain.json").write_text(json.dumps(content))
    outcome = train(load_spec(tmp_path / "plain.json", ["train.steps=30"]), tmp_path / "run")
    assert "neus_inputs" not in outcome.after
    assert outcome.after["denoise/t=500"] < outcome.after["denoise_frozen/t=500"]
    assert outcome.after["denoise_frozen/t=500"] == outcome.before["denoise/t=500"]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_frozen_weights_are_cast_where_autocast_casts_them_anyway(
    precision: str, spec_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = load_spec(spec_file, [f"train.precision={precision}", "train.steps=2"])
    plain = train(given, tmp_path / "plain")
    cast: list[torch.dtype] = []

    def cast_weights(self: tiny.TinyBackbone, dtype: torch.dtype) -> None:
        for layer in (self.first, self.down, self.up, self.last):
            layer.to(dtype)
        cast.append(dtype)

    monkeypatch.setattr(tiny.TinyBackbone, "cast_weights", cast_weights, raising=False)
    halved = train(given, tmp_path / "halved")
    assert cast == ([] if precision == "fp32" else [torch.bfloat16])
    assert plain.after == halved.after
    first, second = (load_file(run.checkpoint / "model.safetensors") for run in (plain, halved))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_folders_with_something_else_are_refused(spec: RunSpec, spec_file: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(SpecError, match="no whole checkpoint to resume"):
        train(spec, run, resume=True)
    assert not run.exists()
    train(spec, run)
    with pytest.raises(SpecError, match="holds this run already, up to step-000006"):
        train(spec, run)
    other = load_spec(spec_file, ["optimizer.lr=0.5"])
    with pytest.raises(SpecError, match=r"another run; its spec differs in optimizer\.lr"):
        train(other, run, resume=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("precious")
    with pytest.raises(SpecError, match="not empty and not a run"):
        train(spec, tmp_path / "mine")


def test_what_only_costs_time_may_change_when_a_run_goes_on(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(canonical_json(load_spec("chairs-mini")))
    cheaper = [f"model.{part}.gradient_checkpointing=true" for part in ("backbone", "field", "lifter")]
    cheaper += ["model.field.chunk_size=2048", "train.compile=regions"]
    RunFolder(tmp_path, load_spec("chairs-mini", cheaper)).check(resume=False)
    with pytest.raises(SpecError, match=r"differs in model\.field\.samples\. Choose"):
        RunFolder(tmp_path, load_spec("chairs-mini", [*cheaper, "model.field.samples=4"])).check(resume=False)


def test_bad_data_is_refused_before_a_folder_is_made(spec: RunSpec, tmp_path: Path) -> None:
    (tmp_path / "discs/objects/disc1/002.webp").unlink()
    with pytest.raises(DatasetError, match="disc1/002"):
        train(spec, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_full_disk_keeps_the_older_checkpoint(spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = checkpoint.save_file

    def full(tensors: object, path: Path) -> None:
        if "step-000004" in str(path):
            raise OSError(28, "No space left on device")
        save(tensors, path)

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "save_file", full)
        with pytest.raises(CheckpointError, match=r"step-000004: .*No space left"):
            train(spec, tmp_path / "run")
    assert [folder.name for folder in (tmp_path / "run/checkpoints").iterdir()] == ["step-000002"]
    assert train(spec, tmp_path / "run", resume=True).step == 6


def test_a_damaged_checkpoint_to_start_from_is_refused_before_a_folder_is_made(
    spec: RunSpec, spec_file: Path, tmp_path: Path
) -> None:
    weights = train(spec, tmp_path / "run").checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged"):
        train(load_spec(spec_file, [f"train.start_from={tmp_path / 'run'}"]), tmp_path / "next")
    assert not (tmp_path / "next").exists()


def test_a_run_resumes_without_what_it_started_from(
    spec: RunSpec, spec_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(spec, tmp_path / "first")
    spec = load_spec(spec_file, [f"train.start_from={tmp_path / 'first'}"])
    with monkeypatch.context() as patched:
        stop_after(2, patched)
        train(spec, tmp_path / "second")
    shutil.rmtree(tmp_path / "first")
    assert train(spec, tmp_path / "second", resume=True).step == 6


def test_a_picture_that_breaks_in_the_middle_costs_no_step(
    spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Trainer.step

    def unreadable(self: Trainer, step: int) -> None:
        if step == 3:
            raise DatasetError("005.png: the picture is damaged")
        whole(self, step)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "step", unreadable)
        with pytest.raises(DatasetError, match=r"005\.png: .* go on after step 3 with --resume"):
            train(spec, tmp_path / "run")
    assert checkpoint.run_checkpoints(tmp_path / "run")[-1].name == "step-000003"
    assert train(spec, tmp_path / "run", resume=True).step == 6


@pytest.mark.parametrize(
    "what", ["tensorboard.summary.writer.record_writer.RecordWriter.write", "PIL.Image.Image.save"]
)
def test_no_room_for_the_log_or_the_preview_is_told(
    what: str, spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(what, full)
        with pytest.raises(
            CheckpointError, match=r"(events\.out.*|step-000006\.png): cannot be written.*No space left"
        ):
            train(spec, tmp_path / "run")
    assert not list((tmp_path / "run").rglob("*.part"))


def test_scalars_are_read_by_tensorboard_and_a_resumed_run_replaces_what_it_repeats(tmp_path: Path) -> None:
    first = EventFile(tmp_path, purge_step=1)
    for step in (1, 2, 3):
        first.scalars(step, {"loss": step / 10})
    EventFile(tmp_path, purge_step=3).scalars(3, {"loss": 7.0})
    read = EventAccumulator(str(tmp_path))
    read.Reload()
    assert [(e.step, e.value) for e in read.Scalars("loss")] == [
        (1, pytest.approx(0.1)),
        (2, pytest.approx(0.2)),
        (3, 7.0),
    ]


def test_without_held_out_objects_the_figures_say_so(spec_file: Path, tmp_path: Path) -> None:
    tiny.write_dataset(tmp_path / "all", splits=("train",) * 2)
    outcome = train(load_spec(spec_file, [f"data.path={tmp_path / 'all'}", "train.steps=1"]), tmp_path / "run")
    assert outcome.measured == "2 objects that are trained on (none is held out), 4 + 3 views"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sample.scheduler=nonsense", "no scheduler 'nonsense'"),
        ("sample.steps=5000", "scheduler 'TinySolver' cannot take 5000 steps"),
        (
            "sample.size=[32, 16]",
            r"the pictures have \[16, 16\] pixels, samples would have \[32, 16\]; set sample.size",
        ),
        ("loss.denoise=0", "every weight that reaches the model is 0"),
    ],
)
def test_what_could_not_be_sampled_or_learned_is_refused_before_training(
    spec_file: Path, tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(TuneMV3DError, match=message):
        train(load_spec(spec_file, [override, "loss.neus=0", "loss.mask=0"]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_resumed_run_measures_what_it_measured_and_may_sample_otherwise(
    spec_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(load_spec(spec_file), tmp_path / "run")
    step = tmp_path / "run/checkpoints/step-000006"
    shutil.rmtree(step)
    monkeypatch.setattr("tunemv3d_train.setup.TIMESTEPS", (0.1, 0.2, 0.3))
    outcome = train(load_spec(spec_file, ["sample.steps=3"]), tmp_path / "run", resume=True)
    assert outcome.before.keys() == outcome.after.keys()
    assert load_spec(step / "spec.json").sample.steps == 3
