"""The step as a CUDA graph against the eager one. Needs a GPU."""

import json
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.errors import SpecError, TuneMV3DWarning
from tunemv3d_train.cuda_graph import WARMUP_STEPS, captured_training
from tunemv3d_train.trainer import train

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]


def test_a_captured_run_learns_what_an_eager_one_learns(spec_file: Path, tmp_path: Path) -> None:
    settings = ["train.steps=40", "train.checkpoint_every=40", "train.precision=bf16"]
    eager = train(load_spec(spec_file, settings), tmp_path / "eager")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        captured = train(load_spec(spec_file, [*settings, "train.cuda_graph=true"]), tmp_path / "captured")
    first, second = (load_file(run.checkpoint / "model.safetensors") for run in (eager, captured))
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=0.1, atol=0.02)
    assert captured.after["neus_inputs"] < captured.before["neus_inputs"]


def test_learning_rates_and_random_numbers_change_under_replay() -> None:
    rate, weight = torch.zeros((), device="cuda"), torch.zeros((), device="cuda")

    def step(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        weight.add_(rate * batch["x"].sum())
        return {"weight": weight.clone(), "random": torch.rand((), device="cuda")}

    run = captured_training(step, lambda: None, torch.device("cuda"))
    expected, draws = 0.0, []
    for k in range(WARMUP_STEPS + 5):
        rate.fill_(k)
        torch.manual_seed(k % 3)
        out = run({"x": torch.full((2,), float(k), device="cuda")})
        expected += 2 * k * k
        draws.append(out["random"].item())
        assert out["weight"].item() == expected
    assert len(set(draws[-3:])) == 3 and draws[-1] == draws[-4]


def test_a_step_that_waits_for_the_device_goes_on_eagerly_after_one_warning() -> None:
    def step(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"y": batch["x"] * batch["x"].sum().item() + 0 * torch.rand(2, device="cuda")}

    run = captured_training(step, lambda: None, torch.device("cuda"))
    x = torch.tensor([1.0, 2.0], device="cuda")
    with pytest.warns(UserWarning, match="cannot be captured"):
        results = [run({"x": x * k})["y"].tolist() for k in range(WARMUP_STEPS + 4)]
    assert results == [[3.0 * k * k, 6.0 * k * k] for k in range(WARMUP_STEPS + 4)]
    torch.manual_seed(0)
    assert torch.randn(3, device="cuda").isfinite().all()


CAPTURED = ("train.cuda_graph=true", "train.steps=30", "train.checkpoint_every=30", "train.preview_every=0")


def levels(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["field/level"] for line in lines if "loss" in line]


def test_a_captured_step_sees_what_on_step_changes_and_reports(spec_of_author: Path, tmp_path: Path) -> None:
    # AdamW alone: the author's optimizer is not made for graphs.
    given = [*CAPTURED, "optimizer.parts=null", 'optimizer.algorithm={"type": "adamw"}']
    with warnings.catch_warnings():
        warnings.simplefilter("error", TuneMV3DWarning)
        captured = train(load_spec(spec_of_author, given), tmp_path / "captured")
    eager = train(load_spec(spec_of_author, [*given, "train.cuda_graph=false"]), tmp_path / "eager")
    assert levels(tmp_path / "captured") == pytest.approx([min(1, 2 * step / 30) for step in range(30)])
    first, second = (load_file(run.checkpoint / "model.safetensors") for run in (eager, captured))
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=0.1, atol=0.02)
    assert (tmp_path / "captured/pictures/step-000030-far-map.png").exists()


def test_where_on_step_changes_attributes_the_run_goes_on_without_the_graph(
    spec_of_author: Path, tmp_path: Path
) -> None:
    given = [*CAPTURED, "optimizer.parts=null", 'model.field={"type": "attributed"}', "loss.terms=null"]
    with pytest.warns(TuneMV3DWarning, match="runs eagerly, slower: on_step of 'field' changes 'level'"):
        captured = train(load_spec(spec_of_author, given), tmp_path / "captured")
    eager = train(load_spec(spec_of_author, [*given, "train.cuda_graph=false"]), tmp_path / "eager")
    first, second = (load_file(run.checkpoint / "model.safetensors") for run in (eager, captured))
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=0.1, atol=0.02)


def test_an_optimizer_that_no_graph_can_hold_trains_without(
    spec_of_author: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(load_spec(spec_of_author, CAPTURED), tmp_path / "run").step == 30
    assert "train.cuda_graph: off, because Heavy is not an optimizer that can be captured" in capsys.readouterr().err


def test_fp16_scales_the_loss_of_one_algorithm(spec_of_author: Path, tmp_path: Path) -> None:
    given = ["train.precision=fp16", "train.preview_every=0"]
    with pytest.raises(SpecError, match="fp16 scales the loss for one algorithm alone"):
        train(load_spec(spec_of_author, given), tmp_path / "run")
    one = [*given, "optimizer.parts=null", 'optimizer.algorithm={"type": "heavy"}']
    assert train(load_spec(spec_of_author, one), tmp_path / "run").step == 6
