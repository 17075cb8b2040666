"""Gradients that are not finite reach no weight; the run stops, goes on or goes back, and the batch is kept."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.errors import CheckpointError, TuneMV3DError
from tunemv3d_core.io.checkpoint import run_checkpoints
from tunemv3d_train.non_finite import GradientGuard, gradient_norm, not_finite
from tunemv3d_train.step import TrainingStep
from tunemv3d_train.trainer import train

BAD = 3
"""Call of the training step, from 1, whose gradient is spoilt."""


@pytest.fixture
def spoilt(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Make one step's gradient NaN under a finite loss: the root's slope at zero, times zero."""
    whole, calls = TrainingStep.forward, [0]

    def spoil(self: TrainingStep, **batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        loss, losses = whole(self, **batch)
        calls[0] += self.training and torch.is_grad_enabled()
        if calls[0] == BAD:
            parameter = next(p for p in self.parameters() if p.requires_grad)
            loss = loss + (parameter.sum() * 0).abs().sqrt() * 0
        return loss, losses

    monkeypatch.setattr(TrainingStep, "forward", spoil)
    return calls


def logged(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def finite(checkpoint: Path) -> bool:
    files = ("model.safetensors", "state/tensors.safetensors")
    return all(bool(t.isfinite().all()) for file in files for t in load_file(checkpoint / file).values())


def test_adamw_skips_a_step_that_is_not_finite_and_forgets_it() -> None:
    """The same steps without the bad one, by AdamW that is not fused."""
    torch.manual_seed(0)
    one, other = nn.Linear(3, 2), nn.Linear(3, 2)
    other.load_state_dict(one.state_dict())
    guarded = torch.optim.AdamW(one.parameters(), lr=0.1, fused=True)
    plain = torch.optim.AdamW(other.parameters(), lr=0.1, foreach=False)
    guard = GradientGuard([guarded], torch.device("cpu"), scaled=False)
    for step in range(6):
        x = torch.randn(4, 3)
        for model, optimizer in ((one, guarded), (other, plain)):
            optimizer.zero_grad()
            model(x).square().sum().backward()
            if model is one:
                if step in (2, 3):
                    model.weight.grad[0, 0] = math.nan if step == 2 else math.inf
                guard.begin(step)
                guard.watch(gradient_norm(model.parameters()))
                assert bool(guard.found_inf) == (step in (2, 3))
            if model is one or step not in (2, 3):
                optimizer.step()
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)
    assert (guard.first(), guard.first()) == (2, -1)


def test_a_run_stops_with_what_it_has_and_goes_on_past_the_step(
    spec_file: Path, tmp_path: Path, spoilt: list[int]
) -> None:
    run = tmp_path / "run"
    with pytest.raises(TuneMV3DError, match=r"gradient of step 3 is not finite \(1 such steps.*train\.non_finite=skip"):
        train(load_spec(spec_file), run)
    assert finite(run_checkpoints(run)[-1])
    batch = load_file(run / "non_finite/step-000003.safetensors")
    assert {"latents", "noise", "t"} <= batch.keys()
    spoilt[0] = BAD
    assert train(load_spec(spec_file, ["train.non_finite=skip"]), run, resume=True).step == 6
    assert finite(run_checkpoints(run)[-1])


@pytest.mark.parametrize("clip", ["1.0", "0"])
def test_a_skipped_step_is_told_and_counted(
    spec_file: Path, tmp_path: Path, spoilt: list[int], clip: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    outcome = train(load_spec(spec_file, ["train.non_finite=skip", f"optimizer.clip={clip}"]), run)
    assert outcome.step == 6 and finite(outcome.checkpoint)
    assert [line["skipped"] for line in logged(run) if "skipped" in line] == [1.0]
    assert "gradient of step 3" in capsys.readouterr().err


def test_a_run_goes_back_and_on_with_other_draws(
    spec_file: Path, tmp_path: Path, spoilt: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["train.non_finite=roll_back", "train.checkpoint_every=1"]
    outcome = train(load_spec(spec_file, options), tmp_path / "run")
    assert "Going back to step-000002" in capsys.readouterr().err
    assert outcome.step == 6 and finite(outcome.checkpoint)
    assert [line["step"] for line in logged(tmp_path / "run") if "loss" in line] == [1, 2, 3, 4, 5, 6]
    spoilt[0] = BAD
    plain = train(load_spec(spec_file, ["train.checkpoint_every=1"]), tmp_path / "plain")
    mine, theirs = (load_file(o.checkpoint / "model.safetensors") for o in (outcome, plain))
    assert any(not torch.equal(mine[name], theirs[name]) for name in mine)


def test_a_run_that_goes_back_over_a_logged_step_keeps_its_clock(
    spec_file: Path, tmp_path: Path, spoilt: list[int]
) -> None:
    spoilt[0] = -1  # step 4, after the line of step 3; the checkpoint is of step 2
    train(load_spec(spec_file, ["train.non_finite=roll_back", "train.checkpoint_every=2"]), tmp_path / "run")
    rates = {line["step"]: line["steps_per_s"] for line in logged(tmp_path / "run") if "steps_per_s" in line}
    assert list(rates) == [1, 2, 3, 4, 5, 6] and min(rates.values()) > 0


def test_weights_that_are_not_finite_replace_no_checkpoint(
    spec_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunemv3d_train.trainer import Trainer

    whole = Trainer.step

    def spoil(self: Trainer, step: int) -> None:
        whole(self, step)
        if step == BAD:
            with torch.no_grad():
                next(iter(self.parts.parameters.values())).fill_(math.nan)

    monkeypatch.setattr(Trainer, "step", spoil)
    with pytest.raises(CheckpointError, match=r"step 4: .* not finite .* the one before stays"):
        train(load_spec(spec_file, ["train.checkpoint_every=1"]), tmp_path / "run")
    assert [folder.name for folder in run_checkpoints(tmp_path / "run")][-1] == "step-000003"


def test_names_of_what_is_not_finite() -> None:
    tensors = {
        "a": torch.ones(2),
        "b": torch.tensor([1.0, math.inf]),
        "c": torch.arange(3),
        "d": torch.tensor(math.nan),
    }
    assert not_finite(tensors) == ["b", "d"] and not_finite({"c": tensors["c"]}) == []
