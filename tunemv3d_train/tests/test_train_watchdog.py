"""The watchdog: says what is silently wrong, once, and nothing of a run that is well."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import train_stand_ins as tiny

from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.types import Rendering
from tunemv3d_train.trainer import Trainer, train
from tunemv3d_train.watchdog import ALPHA, OPACITY, Watchdog

STEPS = ["train.steps=24", "train.checkpoint_every=8", "train.log_every=8"]


def told(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err


def test_a_run_that_is_well_hears_nothing(spec_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(load_spec(spec_file, STEPS), tmp_path / "run")
    err = told(capsys)
    assert "injector" not in err and "frozen model's weights" not in err


@pytest.mark.slow
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
    train(load_spec(spec_file, [*STEPS, "optimizer.parts.injector.lr_scale=0"]), tmp_path / "run")
    assert told(capsys).count("after 24 steps the injector is still zero") == 1


def test_a_frozen_model_that_changes_is_told_once(
    spec_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = Trainer.step

    def careless(self: Trainer, step: int) -> None:
        whole(self, step)
        if step == 5:
            with torch.no_grad():
                next(p for p in self.parts.model.backbone.parameters() if not p.requires_grad).add_(1e-3)

    monkeypatch.setattr(Trainer, "step", careless)
    train(load_spec(spec_file, STEPS), tmp_path / "run")
    assert told(capsys).count("the frozen model's weights have changed") == 1


def field_that(opacity: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the tiny field render one opacity everywhere."""
    whole = tiny.TinyScene.render

    def flat(self: tiny.TinyScene, *arguments: Any, **named: Any) -> Rendering:
        drawn = whole(self, *arguments, **named)
        return replace(drawn, opacity=drawn.opacity * 0 + opacity)

    monkeypatch.setattr(tiny.TinyScene, "render", flat)


@pytest.mark.parametrize(
    ("opacity", "words"), [(1e-4, "no surface"), (1.0, "everything is opaque"), (0.05, ""), (0.95, "")]
)
def test_a_field_that_collapses_is_told_once(
    opacity: float,
    words: str,
    spec_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The discs cover 0.2 to 0.45 of the pictures."""
    field_that(opacity, monkeypatch)
    monkeypatch.setattr("tunemv3d_train.watchdog.COLLAPSED", 8)
    train(load_spec(spec_file, ["train.steps=24", "train.log_every=2", "train.checkpoint_every=12"]), tmp_path / "run")
    err = told(capsys)
    if words:
        (line,) = [line for line in err.splitlines() if "since step 0 the field shows" in line]
        assert words in line and "loss.mask" in line and f"{opacity:.3f}" in line
    else:
        assert "the field shows" not in err
    assert "watched/" not in (tmp_path / "run/metrics.jsonl").read_text()


def test_readings_in_a_row_count_and_others_begin_anew() -> None:
    watchdog = Watchdog(SimpleNamespace(named_parameters=lambda: []))  # type: ignore[arg-type]
    empty, well = (0.001, 0.2), (0.18, 0.2)
    heard = []
    for done, (opacity, alpha) in enumerate([empty] * 9 + [well] + [empty] * 13, start=1):
        means = {OPACITY: opacity, ALPHA: alpha, "loss": 1.0}
        heard += [(10 * done, sentence) for sentence in watchdog.read(10 * done, means)]
        assert means == {"loss": 1.0}
    assert [done for done, _ in heard] == [200] and "since step 100 the field shows no surface" in heard[0][1]


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [(0.3, 0.3, "what it was"), (0.3, 1.3, "sharper than any picture"), (0.3, -0.1, "wider"), (0.3, 0.5, "")],
)
def test_the_width_of_a_surface_that_is_stuck_or_explodes_is_told(before: float, after: float, words: str) -> None:
    v = torch.nn.Parameter(torch.tensor(before))
    watchdog = Watchdog(SimpleNamespace(named_parameters=lambda: [("field.variance", v)]))  # type: ignore[arg-type]
    v.data.fill_(after)
    said = watchdog.look(40)
    assert len(said) == bool(words) and all(words in sentence and "\n" not in sentence for sentence in said)
    assert not watchdog.look(60)


def test_a_small_inv_s_is_no_wide_surface_where_nothing_keeps_distances_to_scale() -> None:
    v = torch.nn.Parameter(torch.tensor(0.3))
    model = SimpleNamespace(named_parameters=lambda: [("field.variance", v)])
    watched = [Watchdog(model, eikonal=eikonal) for eikonal in (True, False)]  # type: ignore[arg-type]
    v.data.fill_(-0.015)
    assert [len(each.look(40)) for each in watched] == [1, 0]
    v.data.fill_(1.3)
    assert len(watched[1].look(60)) == 1
