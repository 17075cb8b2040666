"""Protocols: those that are packaged, those in files, and what an evaluation does with their entries."""

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from math import isfinite
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from eval_toys import mean_of, rows_of, toy_checkpoint, toy_model
from fake_distributions import FakeSite
from test_eval_command import ChairDataset
from typer import Typer
from typer.testing import CliRunner

from tunemv3d_core import generation
from tunemv3d_core.config import run_spec
from tunemv3d_core.config.component_spec import UnreadSpec
from tunemv3d_core.errors import ComponentError, SpecError, TuneMV3DError
from tunemv3d_core.plugins.registry import registry
from tunemv3d_eval.clip import retrieval
from tunemv3d_eval.evaluate import evaluate
from tunemv3d_eval.protocols.protocol import Protocol, load_protocol, packaged
from tunemv3d_eval.report.plots import Point, figure_plots, plot
from tunemv3d_eval.report.table import markdown
from tunemv3d_eval.samples import identity
from tunemv3d_eval.scoring.chosen import choose_metrics
from tunemv3d_eval.scoring.measurement import worst

METRICS = '''
import warnings
from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.errors import DatasetError, TuneMV3DWarning
from tunemv3d_core.plugins.descriptor import ComponentPlugin
from tunemv3d_core.slots import Figure

class Count:
    """Objects that it was given."""
    figures = {"set_size": Figure("objects", low=0, high=1000)}
    needs = ()

    def __init__(self, spec):
        pass

    def measure_set(self, samples, model):
        return {"set_size": len(samples)}

class Like:
    """Share of captions of the dataset that are the prompt."""
    figures = {"like": Figure("share", low=0, high=1)}
    needs = ("dataset",)
    read = []

    def __init__(self, spec):
        pass

    def use_dataset(self, dataset, model):
        self.read.append(dataset)
        if len(dataset) < 2:
            raise DatasetError("too few objects")
        self.captions = [dataset.record(i).captions[0] for i in range(len(dataset))]

    def measure(self, sample, model):
        return {"like": self.captions.count(sample.prompt) / len(self.captions)}

class Depth:
    figures = {"depth": Figure("depth", low=0)}
    needs = ("surface",)

    def __init__(self, spec):
        pass

    def measure(self, sample, model):
        return {"depth": 1}

class Doubtful:
    figures = {"doubt": Figure("doubt", low=0)}
    needs = ()

    def __init__(self, spec):
        pass

    def measure(self, sample, model):
        warnings.warn(f"{sample.prompt}: hard to judge", TuneMV3DWarning)
        return {"doubt": 1 if sample.prompt == "a red chair" else 1 / 0}

class Broken:
    def __init__(self, spec):
        raise RuntimeError("no weights")

def plugin(cls):
    name = cls.__name__
    return ComponentPlugin("metric", name.lower(), "1.0", ComponentSpec, f"their_metrics:{name}", "A metric")

COUNT, LIKE, DEPTH, DOUBTFUL, BROKEN = map(plugin, (Count, Like, Depth, Doubtful, Broken))
'''


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """The command on a toy whose views are a red chair, with three metrics of another distribution installed."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    registry().clear()
    site = FakeSite(folder)
    site.module("their_metrics", METRICS)
    site.distribution(
        "theirs",
        {
            "tunemv3d.metric": {
                n.lower(): f"their_metrics:{n}" for n in ("COUNT", "LIKE", "DEPTH", "DOUBTFUL", "BROKEN")
            }
        },
    )
    model = toy_model()
    spec = SimpleNamespace(sample=run_spec.SampleSpec(steps=1, guidance=1.0), data=UnreadSpec(type="chairs"))
    monkeypatch.setattr(
        generation.LoadedCheckpoint,
        "load",
        lambda name, place, added: SimpleNamespace(name=name, spec=spec, model=model, data={}),
    )
    monkeypatch.setattr(identity, "spec_id", lambda spec: "abc")
    monkeypatch.setattr("tunemv3d_eval.scoring.real.open_dataset", lambda spec, other: ChairDataset())
    app = Typer()
    app.command()(evaluate)

    def call(*arguments: str, **protocol: Any) -> Any:
        content = {
            "name": "mine",
            "summary": "Mine",
            "prompts": "three.txt",
            "views": 4,
            "consistency": [1],
            **protocol,
        }
        (tmp_path / "three.txt").write_text("\n".join(["a red chair", "a blue chair", "a red stool"]))
        (tmp_path / "mine.json").write_text(json.dumps(content))
        name = toy_checkpoint(tmp_path / "toy")
        own = ["--protocol", str(tmp_path / "mine.json"), "--out", str(tmp_path / "out")]
        result = CliRunner().invoke(app, [name, *own, *arguments])
        if isinstance(result.exception, Exception):
            raise result.exception
        return result.exit_code, json.loads((tmp_path / "out/evaluate.json").read_text())

    yield call
    site.forget()
    registry().clear()


@pytest.mark.parametrize("name", packaged())
def test_packaged_protocols_name_what_is_there(name: str) -> None:
    protocol = load_protocol(name)
    assert protocol.name == name and protocol.summary.strip() and protocol.texts()
    for each in choose_metrics(protocol).metrics:
        for figure in each.figures.values() if each.of_objects else ():
            # An object that failed counts as this value.
            assert isfinite(worst(figure) or 0.0) and worst(figure) is not None, f"{each.name}: {figure.summary}"


def test_the_list_says_what_protocols_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "load_clip", lambda *_: pytest.fail("the list loads a CLIP"))
    app = Typer()
    app.command()(evaluate)
    result = CliRunner().invoke(app, ["--list", "--json"])
    assert result.exit_code == 0, result.output
    (found,) = [each for each in json.loads(result.stdout) if each["name"] == "consistency"]
    assert found["prompts"] == 20 and "hull-recall" in found["metrics"]
    assert found["needs"] == ["field", "novel_views", "renders"] and found["missing"] == {}
    (offline,) = [each for each in json.loads(result.stdout) if each["name"] == "offline"]
    assert offline["prompts"] == 30 and len(offline["metrics"]) == 15 and offline["missing"] == {}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"sedes": 2}, r"mine.json: sedes: unknown. Did you mean 'seeds'\?"),
        ({"views": 1}, "mine.json: views: should be greater than or equal to 2, got 1"),
        ({"consistency": [-1]}, "mine.json: consistency: consistency K must be at least 0"),
        ({"metrics": [{"name": "colour"}]}, "mine.json: metrics: every metric should be a block"),
        ({"metrics": [{"type": "colour", "objects": 0}]}, "metric 'colour': \"objects\" should be how many"),
        ({"metrics": [{"type": "colour", "shade": 1}]}, "protocol mine colour: shade: unknown"),
        ({"metrics": [{"type": "color"}]}, r"no component 'color'\. Did you mean 'colour'\?"),
        ({"prompts": "chair-20"}, r"no packaged list\. Did you mean 'chairs-20'\?"),
    ],
)
def test_faults_are_told_before_anything_is_sampled(
    change: dict[str, Any], told: str, call: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises((SpecError, ComponentError, TuneMV3DError), match=told):
        call(**{"metrics": [{"type": "colour"}], **change})
    assert not (tmp_path / "out").exists()


def test_options_change_fields_and_the_report_says_which(call: Callable[..., Any]) -> None:
    _, report = call("--seeds", "2", "--views", "4", "--consistency", "0", metrics=[{"type": "colour"}])
    assert set(report["times"]) == {"sampling", "colour"} and sum(report["times"].values()) <= report["seconds"] + 0.2
    assert report["overridden"] == ["consistency", "seeds"]
    assert (report["protocol"]["name"], report["protocol"]["seeds"], report["protocol"]["consistency"]) == (
        "mine",
        2,
        [0],
    )
    assert {(row["prompt"], row["seed"]) for row in report["rows"]} >= {("a red chair", 0), ("a red chair", 3)}


def test_an_entry_may_measure_the_first_objects_alone(call: Callable[..., Any]) -> None:
    entries = [{"type": "hull-recall", "objects": 2}, {"type": "colour"}, {"type": "count", "objects": 2}]
    _, report = call(metrics=entries)
    assert [row["hull_recall"] is None for row in report["rows"]] == [False, False, True]
    counts = {mean["figure"]: mean["n"] for mean in report["means"]}
    assert counts == {"hull_recall": 2, "hull_recall_cell": 2, "colour_met": 3, "set_size": 2}
    assert mean_of(report, "set_size", 1) == 2 and report["metrics"]["count"]["objects"] == 2


def test_a_metric_that_cannot_be_built_here_is_left_out_and_told(call: Callable[..., Any]) -> None:
    with pytest.warns(UserWarning, match="metric 'broken' is left out"):
        code, report = call(metrics=[{"type": "broken"}, {"type": "colour"}])
    assert code == 0 and "no weights" in report["skipped"]["broken"] and mean_of(report, "colour_met", 1) is not None
    with pytest.raises(ComponentError, match="no weights"):
        call("--metric", "broken", metrics=[])


def test_a_metric_that_compares_reads_the_dataset_once(
    call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = [{"type": "like"}, {"type": "colour"}]
    code, report = call(metrics=entries)
    import their_metrics  # type: ignore[import-not-found]

    assert code == 0 and len(their_metrics.Like.read) == 1
    assert [row["like"] for row in report["rows"]] == [1, 0, 0] and not rows_of(report, None, "real")
    call(metrics=entries)
    assert len(their_metrics.Like.read) == 1, "what is measured already needs no dataset"


def test_a_metric_without_its_dataset_is_left_out_or_refused(
    call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ChairDataset, "__len__", lambda self: 1)
    entries = [{"type": "like"}, {"type": "colour"}]
    with pytest.warns(UserWarning, match="metric 'like' is left out: too few objects"):
        code, report = call(metrics=entries)
    assert code == 0 and report["skipped"] == {"like": "too few objects"} and mean_of(report, "like", 1) is None
    with pytest.raises(TuneMV3DError, match="too few objects"):
        call("--metric", "like", metrics=entries)

    def gone(spec: Any, other: str) -> Any:
        raise TuneMV3DError("the checkpoint's dataset: no asset 'chairs'")

    monkeypatch.setattr("tunemv3d_eval.scoring.real.open_dataset", gone)
    code, report = call(metrics=entries)
    assert code == 0 and "no asset 'chairs'" in report["skipped"]["like"]
    with pytest.raises(TuneMV3DError, match="--metric like: the checkpoint's dataset: no asset 'chairs'"):
        call("--metric", "like", metrics=entries)
    with pytest.raises(TuneMV3DError, match="no asset 'chairs'"):
        call("--real", metrics=entries)
    with pytest.warns(UserWarning, match="no real objects beside the samples: .*no asset"):
        code, report = call(metrics=entries, controls=True)
    assert code == 0 and {row["control"] for row in report["rows"]} == {None, "repeated", "shuffled", "noise"}


def test_a_metric_that_needs_a_surface_is_left_out_where_none_is(call: Callable[..., Any]) -> None:
    code, report = call(metrics=[{"type": "depth"}, {"type": "colour"}])
    assert code == 0 and report["skipped"] == {"depth": "no field has a surface"}
    with pytest.raises(TuneMV3DError, match="--metric depth: no field has a surface"):
        call("--metric", "depth", metrics=[])


def test_warnings_of_metrics_stand_in_the_report_and_failures_only_once(
    call: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.warns(UserWarning, match="doubtful: 'a blue chair', seed 1, K = 1: raises ZeroDivisionError"):
        code, report = call(metrics=[{"type": "doubtful"}])
    assert code == 1 and [each["where"] for each in report["failed"]["doubtful"]] == [
        "'a blue chair', seed 1, K = 1",
        "'a red stool', seed 2, K = 1",
    ]
    assert report["warnings"] == [
        f"{prompt}: hard to judge" for prompt in ("a red chair", "a blue chair", "a red stool")
    ]
    (mean,) = report["means"]
    assert mean["mean"] == pytest.approx(1 / 3) and mean["failed"] == 2
    assert ", 2 failed |" in (tmp_path / "out/table.md").read_text()


def test_controls_stand_beside_every_figure(call: Callable[..., Any], tmp_path: Path) -> None:
    _, report = call(metrics=[{"type": "hull-recall"}, {"type": "count"}], consistency=[0, 1], controls=True)
    controls = ("real", "repeated", "shuffled", "noise")
    assert [len(rows_of(report, None if c == "real" else 1, c)) for c in controls] == [1, 3, 3, 3]
    real, noise = mean_of(report, "hull_recall", None, "real"), mean_of(report, "hull_recall", 1, "noise")
    assert real > 0.98 > 0.95 > noise
    assert [mean_of(report, "set_size", None if c == "real" else 1, c) for c in controls] == [1, 3, 3, 3]
    table = (tmp_path / "out/table.md").read_text()
    assert "| figure | K = 0 | K = 1 | real | repeated | shuffled | noise |" in table
    assert table == markdown(report)


def test_plots_show_means_bands_and_levels_where_they_are(call: Callable[..., Any], tmp_path: Path) -> None:
    drawn = plot("a", {"one": [Point(0, 0.0, -0.1, 0.1), Point(2, 1.0, 0.8, 1.1)]}, {"noise": 0.5}, "K")
    tags = [(e.tag.rpartition("}")[2], e.attrib) for e in ElementTree.fromstring(drawn).iter()]
    (low_x, low_y), (high_x, high_y) = [(float(a["cx"]), float(a["cy"])) for tag, a in tags if tag == "circle"]
    assert low_x < high_x and low_y > high_y
    (band,) = [a["points"].split() for tag, a in tags if tag == "polygon"]
    heights = [float(corner.split(",")[1]) for corner in band]
    per_unit = low_y - high_y
    expected = [low_y - value * per_unit for value in (0.1, 1.1, 0.8, -0.1)]
    assert heights == pytest.approx(expected, abs=0.11)
    (level,) = [a["d"] for tag, a in tags if "stroke-dasharray" in a]
    assert float(level.split()[1].split("H")[0]) == pytest.approx((low_y + high_y) / 2, abs=0.11)


def test_a_figure_has_a_plot_against_k(call: Callable[..., Any], tmp_path: Path) -> None:
    _, report = call(metrics=[{"type": "hull-recall"}], consistency=[0, 1, [2, 1]], controls=True)
    plots = figure_plots(report)
    assert set(plots) == {"hull_recall", "hull_recall_cell"}
    words = [e.text for e in ElementTree.fromstring(plots["hull_recall"]).iter() if e.text]
    assert {"hull recall", "K", "0", "1", "2:1", "toy", "real", "noise"} <= set(words)
    assert (tmp_path / "out/plots/hull_recall.svg").read_text() == plots["hull_recall"]


def test_protocols_are_frozen() -> None:
    protocol = load_protocol("consistency")
    with pytest.raises(ValueError, match="frozen"):
        protocol.seeds = 2
    other, changed = protocol.changed(seeds=2, views=8, steps=None)
    assert isinstance(other, Protocol) and (other.seeds, changed) == (2, ["seeds"])
