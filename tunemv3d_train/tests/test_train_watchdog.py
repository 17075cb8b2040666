"""The watchdog: says what is silently wrong, once, and nothing of a run that is well."""

from pathlib import Path

import pytest
import torch

from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_train.trainer import Trainer, train

STEPS = ["train.steps=24", "train.checkpoint_every=8", "train.log_every=8"]


def told(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err


def test_a_run_that_is_well_hears_nothing(spec_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(load_spec(spec_file, STEPS), tmp_path / "run")
    err = told(capsys)
    assert "injector" not in err and "frozen model's weights" not in err


def test_an_injector_that_stays_at_zero_is_told_once(
    spec_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = MultiviewDiffusion.__init__

    def zeroed(self: MultiviewDiffusion, *arguments: object, **named: object) -> None:
        whole(self, *arguments, **named)
        with torch.no_grad():
            for parameter in self.injector.parameters():
                parameter.zero_()

    monkeypatch.setattr(MultiviewDiffusion, "__init__", zeroed)
    train(load_spec(spec_file, [*STEPS, 'optimizer.lr_scale={"injector": 0}']), tmp_path / "run")
    assert told(capsys).count("after 24 steps the injector is still zero") == 1


def test_a_frozen_model_that_changes_is_told_once(
    spec_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = Trainer._step

    def careless(self: Trainer, step: int) -> None:
        whole(self, step)
        if step == 5:
            with torch.no_grad():
                next(p for p in self.parts.model.backbone.parameters() if not p.requires_grad).add_(1e-3)

    monkeypatch.setattr(Trainer, "_step", careless)
    train(load_spec(spec_file, STEPS), tmp_path / "run")
    assert told(capsys).count("the frozen model's weights have changed") == 1
