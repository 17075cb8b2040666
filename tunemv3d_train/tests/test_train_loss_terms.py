"""Losses that are not ours: a scene's own and third parties', weighed by name, and refused by name before a step."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import train_stand_ins as tiny
from torch import Tensor

from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.errors import TuneMV3DError, TuneMV3DWarning
from tunemv3d_core.io.checkpoint import load_checkpoint
from tunemv3d_core.plugins.registry import registry
from tunemv3d_train.trainer import train

EDGES = '''
"""A third party's loss: errors of x0's differences between neighbouring columns."""

from torch import Tensor

from tunemv3d_core.config.component_spec import LossTermSpec
from tunemv3d_core.plugins.descriptor import ComponentPlugin


class EdgesSpec(LossTermSpec):
    power: int = 1


class Edges:
    def __init__(self, power: int) -> None:
        self.power = power

    def __call__(self, prediction, targets) -> Tensor:
        errors = prediction.x0.diff(dim=-1) - targets.latents.diff(dim=-1)
        return self.shaped(errors.abs().pow(self.power).mean((2, 3, 4)))

    def shaped(self, views: Tensor) -> Tensor:
        return views


class Sums(Edges):
    def shaped(self, views: Tensor) -> Tensor:
        return views.sum()


class Undefined(Edges):
    def shaped(self, views: Tensor) -> Tensor:
        return views * float("nan")


def build(spec, context):
    return {"edge": Edges, "sum": Sums, "undefined": Undefined}[spec.type](spec.power)


EDGE, SUM, UNDEFINED = (
    ComponentPlugin("loss", name, "1.0", EdgesSpec, f"{__name__}:build", "For tests")
    for name in ("edge", "sum", "undefined")
)
'''


@pytest.fixture
def edges(offered: Path) -> Iterator[Path]:
    """The metadata of a distribution with losses, installed beside the tiny components."""
    (offered / "others_edges.py").write_text(EDGES)
    info = offered / "others_edges-2.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: others-edges\nVersion: 2.1\n")
    names = "".join(f"{name} = others_edges:{name.upper()}\n" for name in ("edge", "sum", "undefined"))
    (info / "entry_points.txt").write_text(f"[tunemv3d.loss]\n{names}")
    registry().clear()
    yield info
    sys.modules.pop("others_edges", None)


def overrides(**loss: Any) -> list[str]:
    return [f"loss.{name}={json.dumps(value)}" for name, value in loss.items()]


def refused(spec_file: Path, out: Path, *given: str) -> str:
    with pytest.raises(TuneMV3DError) as caught:
        train(load_spec(spec_file, given), out)
    assert not out.exists(), "nothing is written before a refusal"
    return str(caught.value)


def log(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_loss_of_a_third_party_trains_and_is_reported_as_ours(edges: Path, spec_file: Path, tmp_path: Path) -> None:
    terms = {"borders": {"type": "edge", "weight": 0.5, "power": 2}, "watched": {"type": "edge", "weight": 0}}
    outcome = train(load_spec(spec_file, [*overrides(terms=terms), "loss.weighting=uniform"]), tmp_path / "run")
    weights = {"denoise": 1, "neus": 1, "mask": 0.1, "eikonal": 0.1, "borders": 0.5, "watched": 0}
    steps = [line for line in log(tmp_path / "run") if "loss" in line]
    assert len(steps) == 6
    for line in steps:
        assert line["loss"] == pytest.approx(sum(weight * line[name] for name, weight in weights.items()), rel=1e-5)
        buckets = {name.removeprefix("neus/") for name in line if name.startswith("neus/t=")}
        assert buckets == {name.removeprefix("borders/") for name in line if name.startswith("borders/t=")} != set()
    assert {"borders", "watched", "borders/t=50"} <= outcome.after.keys()
    recorded = json.loads((outcome.checkpoint / "provenance.json").read_text())["losses"]["terms.borders"]
    assert (recorded["slot"], recorded["distribution"], recorded["version"]) == ("loss", "others-edges", "2.1")


def test_a_checkpoint_can_be_sampled_where_its_losses_are_not_installed(
    edges: Path, spec_file: Path, tmp_path: Path
) -> None:
    given = overrides(terms={"borders": {"type": "edge"}})
    first = train(load_spec(spec_file, [*given, "train.steps=2"]), tmp_path / "run")
    (edges / "entry_points.txt").unlink()
    registry().clear()
    spec, _ = load_checkpoint(first.checkpoint)
    assert spec.loss.terms["borders"].model_dump()["weight"] == 1


def test_a_resumed_run_is_warned_of_another_version_of_its_losses(edges: Path, spec_file: Path, tmp_path: Path) -> None:
    spec = load_spec(spec_file, [*overrides(terms={"borders": {"type": "edge"}}), "train.steps=1"])
    train(spec, tmp_path / "run")
    metadata = edges / "METADATA"
    metadata.write_text("Metadata-Version: 2.1\nName: others-edges\nVersion: 2.2\n")
    edges.rename(edges.with_name("others_edges-2.2.dist-info"))
    registry().clear()
    with pytest.warns(TuneMV3DWarning, match="saved with others-edges==2.1, others-edges==2.2 is installed"):
        train(spec, tmp_path / "run", resume=True)


def test_what_a_spec_says_of_losses_is_checked_when_it_is_read(edges: Path, spec_file: Path) -> None:
    for given, message in (
        ({"terms": {"borders": {"type": "egde"}}}, "loss.terms.borders: no component 'egde'. Did you mean 'edge'?"),
        (
            {"terms": {"borders": {"type": "edge", "powr": 2}}},
            "loss.terms.borders.powr: unknown. Did you mean 'power'?",
        ),
        ({"terms": {"borders": {"type": "edge", "weight": -1}}}, "loss.terms.borders.weight: should be greater"),
        ({"terms": {"mask": {"type": "edge"}}}, "loss.terms: 'mask' is a figure of the trainer's own"),
        ({"terms": {"a/t": {"type": "edge"}}}, "loss.terms: 'a/t' cannot name a loss"),
        ({"terms": {"eikonal": {"type": "edge"}}}, "loss: 'eikonal' names a loss of the scene and one of 'terms'"),
        ({"scene": {"denoise": 1}}, "loss.scene: 'denoise' is a figure of the trainer's own"),
        ({"scene": {"eikonal": -1}}, "loss.scene.eikonal: should be greater than or equal to 0, got -1"),
        ({"smoothness": 1}, "loss.smoothness: unknown. Accepted: denoise, neus, mask, scene, terms, "),
    ):
        with pytest.raises(TuneMV3DError) as caught:
            load_spec(spec_file, overrides(**given))
        assert message in str(caught.value), str(caught.value)


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"sums": {"type": "sum"}}, "loss.terms.sums: the loss 'sum' gives a tensor of shape (); one number per view"),
        ({"odd": {"type": "undefined"}}, "loss.terms.odd: the loss 'undefined' is nan before the first step"),
    ],
)
def test_a_term_that_is_not_what_it_should_be_is_refused_before_the_first_step(
    edges: Path, spec_file: Path, tmp_path: Path, terms: dict[str, Any], message: str
) -> None:
    assert message in refused(spec_file, tmp_path / "run", *overrides(terms=terms))


@pytest.fixture
def scene_losses(monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """What the tiny field's scenes give; a test fills it."""
    given: dict[str, Tensor] = {}

    def losses(scene: tiny.TinyScene) -> dict[str, Tensor]:
        return {name: loss.to(scene.field.v.device) + 0 * scene.field.v for name, loss in given.items()}

    monkeypatch.setattr(tiny.TinyScene, "losses", losses)
    return given


def test_a_scene_loss_of_any_name_is_weighed(spec_file: Path, tmp_path: Path, scene_losses: dict[str, Tensor]) -> None:
    scene_losses |= {"smoothness": torch.tensor(1000.0), "target": torch.tensor(3.0), "watched": torch.tensor(7.0)}
    given = overrides(scene={"eikonal": None, "smoothness": 0.5, "target": 2, "watched": 0}, weighting="uniform")
    train(load_spec(spec_file, [*given, "train.steps=1"]), tmp_path / "run")
    (line,) = (line for line in log(tmp_path / "run") if "loss" in line)
    ours = line["denoise"] + line["neus"] + 0.1 * line["mask"]
    assert line["loss"] == pytest.approx(ours + 500 + 6, rel=1e-6) and line["watched"] == 7


def test_scene_losses_of_which_none_is_trained_on_are_measured_alone(
    spec_file: Path, tmp_path: Path, scene_losses: dict[str, Tensor]
) -> None:
    scene_losses["smoothness"] = torch.tensor(1000.0)
    given = overrides(scene={"eikonal": 0, "smoothness": 0})
    outcome = train(load_spec(spec_file, [*given, "train.steps=1"]), tmp_path / "run")
    assert outcome.after["smoothness"] == 1000 and "eikonal" not in outcome.after
    assert not any("smoothness" in line for line in log(tmp_path / "run") if "loss" in line)


@pytest.mark.parametrize(
    ("losses", "scene", "message"),
    [
        (
            {"eikonal": 1.0, "smoothness": 1000.0},
            {"eikonal": 0.1},
            "loss.scene: the field 'tiny-train' gives 'eikonal', 'smoothness', but 'smoothness' has no weight; write "
            '"loss": {"scene": {"eikonal": 0.1, "smoothness": 0}}',
        ),
        (
            {"smoothness": 1000.0},
            {"smothness": 1, "eikonal": 0, "smoothness": 1},
            "loss.scene.smothness: the field 'tiny-train' gives no loss of this name, it gives 'smoothness'. "
            "Did you mean 'smoothness'?",
        ),
        ({}, {"eikonal": 0.1}, "the field 'tiny-train' gives no loss of this name, it gives none at all"),
        (
            {"denoise": 1000.0},
            {"eikonal": 0},
            "the field 'tiny-train' gives a loss 'denoise': 'denoise' is a figure of",
        ),
        ({"a/b": 1.0}, {"eikonal": 0}, "the field 'tiny-train' gives a loss 'a/b': 'a/b' cannot name a loss"),
        (
            {"smoothness": [1.0, 2.0]},
            {"eikonal": 0, "smoothness": 1},
            "the field 'tiny-train' gives the loss 'smoothness' of shape (2,), not a scalar",
        ),
        (
            {"smoothness": float("nan")},
            {"eikonal": 0, "smoothness": 0},
            "loss.scene.smoothness: the loss that the field 'tiny-train' gives is nan before the first step",
        ),
    ],
)
def test_scene_losses_that_cannot_be_weighed_are_refused_before_the_first_step(
    spec_file: Path,
    tmp_path: Path,
    scene_losses: dict[str, Tensor],
    losses: dict[str, Any],
    scene: dict[str, float],
    message: str,
) -> None:
    scene_losses |= {name: torch.tensor(value) for name, value in losses.items()}
    assert message in refused(spec_file, tmp_path / "run", *overrides(scene={"eikonal": None, **scene}))


def test_a_scene_and_a_term_of_one_name_are_told_apart(
    edges: Path, spec_file: Path, tmp_path: Path, scene_losses: dict[str, Tensor]
) -> None:
    scene_losses["borders"] = torch.tensor(1.0)
    given = overrides(scene={"eikonal": 0}, terms={"borders": {"type": "edge"}})
    assert "loss.terms.borders: the field 'tiny-train' gives a loss of this name" in refused(
        spec_file, tmp_path / "run", *given
    )
