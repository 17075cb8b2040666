"""The plan of a run: its memory against counts and against the real step's allocations, and what makes it fit."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import train_stand_ins as tiny
from safetensors import safe_open
from torch.profiler import ProfilerActivity, profile
from typer.testing import CliRunner

from tunemv3d_core.assemble import assemble
from tunemv3d_core.cli.main import app
from tunemv3d_core.config.loading import load_spec, with_overrides
from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.plugins.assets import find_asset
from tunemv3d_core.rendering.rays import culling
from tunemv3d_train.planning.changes import fitting
from tunemv3d_train.planning.devices import GIB, device_of
from tunemv3d_train.planning.plan import Plan, Planner
from tunemv3d_train.trainer import opened

KEPT = ("frozen weights", "trained weights", "optimizer state", "averaged weights", "dataset")
"""What is there before a step."""

SMALL = ("views.inputs=2", "views.novel=2")


def planned(spec: RunSpec, device: str = "rtx-4090") -> Plan:
    return Planner(device_of(device), tries=False).plan(spec)


def call(*words: str) -> tuple[int, Any]:
    result = CliRunner().invoke(app, ["plan", *words, "--json"], catch_exceptions=False)
    return result.exit_code, json.loads(result.stdout)


@pytest.mark.parametrize(("more", "is_quicker"), [((), True), (("train.accumulate=2",), False)])
def test_a_step_that_will_be_captured_is_estimated_without_its_launches(
    more: tuple[str, ...], is_quicker: bool
) -> None:
    captured, eager = (
        sum(planned(load_spec("chairs-mini", [*SMALL, *more, f"train.cuda_graph={on}"])).times.values())
        for on in ("true", "false")
    )
    assert (captured < 0.9 * eager) == is_quicker


@pytest.mark.slow
def test_what_stays_is_what_its_parts_count_to() -> None:
    spec = load_spec("chairs-mini", ["train.ema=0.9", *SMALL])
    memory = planned(spec, "cpu").memory
    stored = 0
    for path in find_asset("sd-mini").rglob("*.safetensors"):
        with safe_open(path, "pt") as file:
            stored += 4 * sum(file.get_tensor(name).numel() for name in file.keys())
    assert memory["frozen weights"] == pytest.approx(stored, rel=0.01)
    trained = 4 * sum(p.numel() for p in assemble(spec.model).parameters() if p.requires_grad)
    assert memory["trained weights"] == memory["averaged weights"] == trained
    assert memory["optimizer state"] == pytest.approx(2 * trained, rel=0.01)
    pictures = load_spec("chairs-mini").data
    views = sum(
        len(json.loads(f.read_text())["frames"]) for f in find_asset("chairs").glob("objects/*/transforms.json")
    )
    assert pictures.type == "multiview" and memory["dataset"] > views * (4 * 32 * 32 + 32 * 32) * 4


def allocated(spec: RunSpec, folder: Path) -> int:
    """Most bytes that the trainer's own second step allocates at once, as torch's profiler counts them."""
    with opened(spec, folder) as trainer, culling(False):
        trainer.step(0)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            trainer.step(1)
    events = profiler.profiler.kineto_results.events()  # type: ignore[union-attr]
    changes = sorted((each.start_ns(), each.nbytes()) for each in events if each.name() == "[memory]")
    live = peak = 0
    for _, change in changes:
        live += change
        peak = max(peak, live)
    return peak


@pytest.mark.slow
def test_a_steps_memory_is_what_the_trainers_step_allocates(tmp_path: Path) -> None:
    spec = load_spec("chairs-mini", [*SMALL, "model.field.gradient_checkpointing=true", "train.accumulate=2"])
    memory = planned(spec, "cpu").memory
    step = sum(size for part, size in memory.items() if part not in KEPT)
    assert 0.97 < step / allocated(spec, tmp_path / "run") < 1.1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("more", [(), ("train.precision=bf16",), ("train.cuda_graph=true",)])
def test_a_gpus_steps_need_what_was_planned(more: tuple[str, ...]) -> None:
    planner = Planner(device_of("cuda"))
    plan = planner.tried(planner.plan(load_spec("chairs-mini", ["train.batch=8", *more])))
    assert plan.measured is not None and plan.measured.peak is not None
    assert plan.peak - plan.memory["dataset"] == pytest.approx(plan.measured.peak, rel=0.1)


@pytest.fixture
def spec(spec_file: Path) -> RunSpec:
    return load_spec(spec_file)


def test_less_is_less(spec: RunSpec) -> None:
    whole = planned(spec).peak
    for override in ("train.batch=1", "views.inputs=2", "views.novel=1", "train.ema=0"):
        assert planned(with_overrides(spec, [override])).peak < whole
    assert planned(with_overrides(spec, ["train.steps=500"])).peak == whole
    for override in ("train.batch=3", "views.inputs=5"):
        assert planned(with_overrides(spec, [override])).peak > whole


def test_a_target_whose_weight_is_a_number_of_the_schedule_is_planned(spec: RunSpec) -> None:
    assert planned(with_overrides(spec, ["loss.target=x_prev"])).peak == pytest.approx(planned(spec).peak, rel=0.02)


def test_gradients_are_there_while_a_step_has_several_passes(spec: RunSpec) -> None:
    several = planned(with_overrides(spec, ["train.accumulate=3"]))
    assert several.memory["gradients"] >= several.memory["trained weights"]
    one = planned(spec)
    passes = [{part: each for part, each in plan.times.items() if part != "optimizer"} for plan in (one, several)]
    assert sum(passes[1].values()) == pytest.approx(3 * sum(passes[0].values()), rel=0.05)


def test_every_part_is_named(spec: RunSpec) -> None:
    plan = planned(spec)
    parts = {"2D encoder", "2D decoder", "view encoder", "field", "lifter", "injector"}
    assert parts <= plan.times.keys() and parts <= plan.memory.keys() | {"view encoder", "2D encoder", "injector"}
    assert sum(plan.memory.values()) == plan.peak


def test_the_2d_model_alone_is_planned(spec_file: Path, tmp_path: Path) -> None:
    spec = load_spec(tiny.write_spec(tmp_path / "2d.json", tmp_path / "discs", field=False), ["optimizer.parts=null"])
    plan = planned(spec)
    assert (
        {"2D encoder", "2D decoder", "optimizer"}
        <= plan.times.keys()
        <= {"2D encoder", "2D decoder", "optimizer", "other"}
    )
    assert plan.memory["trained weights"] > plan.memory.get("frozen weights", 0)


def test_a_step_is_tried_where_it_is_here(spec: RunSpec) -> None:
    planner = Planner(device_of("cpu"))
    plan = planner.tried(planner.plan(spec))
    assert plan.measured is not None and plan.measured.peak == pytest.approx(
        plan.peak - plan.memory["dataset"], rel=0.1
    )
    assert plan.record()["time"] == "measured" and 0 < plan.measured.seconds < 10
    elsewhere = Planner(device_of("l4"))
    assert elsewhere.tried(elsewhere.plan(spec)).record()["time"] == "estimated"
    unknown = planner_of_room(spec, 1.0).device
    assert Planner(unknown).plan(spec).record()["time"] == "unknown"


def planner_of_room(spec: RunSpec, share: float, device: str = "") -> Planner:
    """A planner for a device, a GPU without a name if it has none, that has room for a share of what a run needs."""
    planner = Planner(device_of(device, 1.0), tries=False)
    planner.device = replace(planner.device, room=share * planner.plan(spec).peak)
    return planner


def test_changes_make_it_fit_and_are_what_they_say(spec: RunSpec) -> None:
    planner = planner_of_room(spec, 0.7)
    plan = planner.plan(spec)
    assert plan.fits is False
    steps = fitting(plan, planner)
    assert steps[0].overrides == ("train.batch=1", "train.accumulate=2")
    peaks = [plan.peak, *(step.plan.peak for step in steps)]
    assert peaks == sorted(peaks, reverse=True) and steps[-1].plan.fits
    overrides = [each for step in steps for each in step.overrides]
    assert planned(with_overrides(spec, overrides)).peak == steps[-1].plan.peak


def test_batches_are_split_into_equal_passes_of_as_many_objects(spec: RunSpec) -> None:
    spec = with_overrides(spec, ["train.batch=9", "train.accumulate=2"])
    planner = planner_of_room(spec, 0.5)
    assert fitting(planner.plan(spec), planner)[0].overrides == ("train.batch=3", "train.accumulate=6")


def test_after_it_ran_out_a_device_has_less_room_than_was_planned(spec: RunSpec) -> None:
    planner = planner_of_room(spec, 2.0)
    plan = planner.plan(spec)
    assert plan.fits
    out = planner.ran_out(plan)
    assert out.fits is False and planner.ran_out(out) is out
    assert fitting(out, planner)[-1].plan.peak < 0.9 * plan.peak


def test_all_changes_are_told_where_none_suffices(spec: RunSpec) -> None:
    planner = planner_of_room(spec, 0.01)
    steps = fitting(planner.plan(spec), planner)
    assert not steps[-1].plan.fits
    named = {each.partition("=")[0] for step in steps for each in step.overrides}
    assert {"train.batch", "train.accumulate", "views.novel"} <= named


@pytest.mark.slow
def test_a_fields_points_are_recomputed_before_anything_else_is_changed() -> None:
    spec = load_spec("chairs-mini", ["train.batch=2"])
    planner = planner_of_room(spec, 0.7, "cpu")
    first, *others = fitting(planner.plan(spec), planner)
    assert first.overrides == ("model.field.gradient_checkpointing=true",)
    assert not others or others[0].overrides[0].startswith("model.field.chunk_size=")


class Waits(tiny.TinyLifter):
    """A lifter that asks a GPU for a number."""

    def forward(self, *arguments: Any) -> Any:
        maps = super().forward(*arguments)
        maps[0].detach().sum().item()
        return maps


def test_a_component_that_needs_numbers_is_refused(spec: RunSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny, "TinyLifter", Waits)
    with pytest.raises(TuneMV3DError, match=r"tiny cannot be planned: a component needs more than shapes .*meta"):
        planned(spec)


def test_a_kernel_of_a_components_own_is_left_out_and_told(spec: RunSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    class Kernel(tiny.TinyLifter):
        def forward(self, values: Any, *others: Any) -> Any:
            return super().forward(values, *others) if not values.is_cuda else values.data_ptr()

    plain = planned(spec)
    monkeypatch.setattr(tiny, "TinyLifter", Kernel)
    plan = planned(spec)
    assert plan.peak == plain.peak
    assert [note for note in plan.notes if "without kernels" in note] and not plain.notes


def test_without_its_dataset_a_run_is_planned_and_told(spec: RunSpec, tmp_path: Path) -> None:
    gone = with_overrides(spec, [f"data.path={tmp_path / 'nowhere'}"])
    plan = planned(gone)
    assert "dataset" not in plan.memory and plan.peak == planned(spec).peak - planned(spec).memory["dataset"]
    assert "nowhere" in plan.notes[0] and "not counted" in plan.notes[0]


def test_the_command_tells_and_its_exit_code_says_whether_it_fits(spec_file: Path) -> None:
    code, told = call(str(spec_file), "--device", "rtx-4090")
    assert code == 0 and told["fits"] and told["changes"] == [] and told["time"] == "estimated"
    assert told["peak_gib"] == pytest.approx(sum(told["memory_gib"].values()), abs=0.01)
    assert told["run_hours"] == pytest.approx(told["step_seconds"] * 6 / 3600, abs=1e-3)
    code, told = call(str(spec_file), "--device-memory", "1")
    assert code == 0 and told["time"] == "unknown" and told["room_gib"] == pytest.approx(0.35, abs=0.01)


@pytest.mark.slow
def test_a_run_that_does_not_fit_gets_changes_to_copy() -> None:
    words = ["chairs-mini", *(word for each in (*SMALL, "train.batch=2") for word in ("--set", each))]
    need = planned(load_spec("chairs-mini", words[2::2])).peak / GIB
    sized = ("--device-memory", f"{(0.7 * need + 0.6) / 0.95}")
    code, told = call(*words, *sized)
    assert code == 1 and not told["fits"] and told["changes"][-1]["fits"]
    sets = [word for change in told["changes"] for each in change["set"] for word in ("--set", each)]
    code, again = call(*words, *sized, *sets)
    assert code == 0 and again["fits"] and again["peak_gib"] == told["changes"][-1]["peak_gib"]


def test_a_plan_is_shown_with_changes_to_copy(spec_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunemv3d_core.console.console.width", 100)
    shown = CliRunner().invoke(app, ["plan", str(spec_file), "--device-memory", "0.5"], catch_exceptions=False)
    assert shown.exit_code == 1
    lines = [line.strip() for line in shown.stdout.splitlines()]
    assert "tiny on a GPU of 0.5 GiB" in lines and "--set train.batch=1 --set train.accumulate=2" in lines
    assert any(line.startswith("memory: 0.00 GiB") and line.endswith("it does not fit") for line in lines)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--device", "rtx4090"), r"Did you mean 'rtx-4090'\?.*GPUs that need not be here: h200, h100"),
        (("--set", "train.batchez=2"), "train.batchez: unknown"),
        (("--set", "views.novel_pixels=2"), "novel_pixels: should be less than or equal to 1"),
        (("--set", "loss.denoise=0", "--set", "loss.neus=0", "--set", "loss.mask=0"), "every weight .* is 0"),
    ],
)
def test_what_cannot_run_is_refused(words: tuple[str, ...], told: str, spec_file: Path) -> None:
    with pytest.raises(TuneMV3DError, match=f"(?s){told}"):
        call(str(spec_file), *words)


def test_a_device_has_less_room_than_memory() -> None:
    named, sized = device_of("rtx-4090"), device_of(memory=24.0)
    assert named.room is not None and sized.room is not None
    assert 20 < named.room / GIB < sized.room / GIB < 24
    assert device_of("h100", 24.0).room == sized.room and device_of("h100", 24.0).rates == device_of("h100").rates
    here = device_of("cpu")
    assert here.is_here and here.rates is not None and here.rates.single > 1e8 and here.rates.moved > 1e8
    assert not named.is_here
