"""Metrics and datasets of third parties in a report, without a change of ours; what is wrong with one costs only it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from eval_toys import mean_of, rows_of, toy_checkpoint, toy_model
from fake_distributions import FakeSite
from typer import Typer
from typer.testing import CliRunner

from tunemv3d_core import generation
from tunemv3d_core.config import run_spec
from tunemv3d_core.config.component_spec import ComponentSpec, UnreadSpec
from tunemv3d_core.errors import ComponentError, DatasetError, SpecError, TuneMV3DError, TuneMV3DWarning
from tunemv3d_core.plugins.registry import registry
from tunemv3d_eval.evaluate import evaluate
from tunemv3d_eval.samples import identity
from tunemv3d_eval.scoring.real import open_dataset

METRIC = '''
from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.plugins.descriptor import ComponentPlugin
from tunemv3d_core.slots import Figure

class Options(ComponentSpec):
    scale: float{default}
    """Of the figure."""

class Redness:
    figures = {{"{figure}": Figure("mean red", higher_is_better=False, low=0, high=10)}}
    needs = {needs}

    def __init__(self, spec):
        self.scale = spec.scale

    def {method}(self, {given}, model):
        samples = {given} if isinstance({given}, list) else [{given}]
        red = sum(float((s.images[:, 0] + 1).mean() / 2) for s in samples) / len(samples)
        return {returned}

PLUGIN = ComponentPlugin("metric", "{name}", "1.0", Options, "{module}:Redness", "How red views are")
'''

DATASET = '''
from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.plugins.descriptor import ComponentPlugin

class Options(ComponentSpec):
    colour: str
    """Of every chair."""

PLUGIN = ComponentPlugin("dataset", "my-chairs", "1.0", Options, "test_eval_command:ChairDataset", "Chairs")
'''


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSite]:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    registry().clear()
    fake = FakeSite(folder)
    yield fake
    fake.forget()
    registry().clear()


def offer(
    site: FakeSite,
    name: str,
    *,
    method: str = "measure",
    returned: str = '{"red": self.scale * red}',
    figure: str = "red",
    needs: str = "()",
    default: str = " = 1.0",
) -> None:
    """A distribution with one metric."""
    module, given = name.replace("-", "_"), "samples" if method == "measure_set" else "sample"
    source = METRIC.format(
        name=name,
        module=module,
        method=method,
        given=given,
        returned=returned,
        figure=figure,
        needs=needs,
        default=default,
    )
    site.module(module, source)
    site.distribution(f"their-{name}", {"tunemv3d.metric": {name: f"{module}:PLUGIN"}}, "3.1")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, site: FakeSite) -> Callable[..., Any]:
    """The command on the toy whose views are a red chair; its exit code and its report, or what it refused."""
    site.module("their_chairs", DATASET)
    site.distribution("their-chairs", {"tunemv3d.dataset": {"my-chairs": "their_chairs:PLUGIN"}})
    sampling = run_spec.SampleSpec(steps=2, guidance=1.0, consistency=1.0)
    spec = SimpleNamespace(sample=sampling, data=UnreadSpec(type="my-chairs", colour="red"))
    model = toy_model()
    monkeypatch.setattr(
        generation.LoadedCheckpoint,
        "load",
        lambda name, place, added: SimpleNamespace(name=name, spec=spec, model=model, data={}),
    )
    monkeypatch.setattr(identity, "spec_id", lambda spec: "abc")
    (tmp_path / "prompts.txt").write_text("a red chair\na blue chair\n")
    app = Typer()
    app.command()(evaluate)

    def call(*arguments: str) -> Any:
        out = ("--prompts", f"{tmp_path / 'prompts.txt'}", "--out", f"{tmp_path / 'out'}")
        name = toy_checkpoint(tmp_path / "toy")
        result = CliRunner().invoke(app, [name, *out, "--views", "4", *arguments])
        if isinstance(result.exception, TuneMV3DError):
            assert not (tmp_path / "out/evaluate.json").exists()
            raise result.exception
        assert not isinstance(result.exception, Exception), result.exception
        return result.exit_code, json.loads((tmp_path / "out/evaluate.json").read_text())

    return call


def test_a_third_partys_metric_stands_in_the_report_beside_ours(site: FakeSite, run: Callable[..., Any]) -> None:
    offer(site, "redness")
    offer(site, "set-redness", method="measure_set", returned='{"set_red": red}', figure="set_red")
    code, report = run()
    assert code == 0 and report["failed"] == {}
    red = mean_of(report, "red", 1)
    assert red == pytest.approx(sum(row["red"] for row in rows_of(report, 1)) / 2)
    assert red == pytest.approx(mean_of(report, "set_red", 1))
    assert mean_of(report, "hull_recall", 1) > 0.98 and 0.8 < red != mean_of(report, "red", 0)
    told = report["metrics"]["redness"]
    assert (told["distribution"], told["version"], told["options"]["scale"]) == ("their-redness", "3.1", 1)
    figure = report["figures"]["red"]
    assert (figure["higher_is_better"], figure["low"], figure["high"], figure["metric"]) == (False, 0, 10, "redness")
    assert (report["figures"]["leave_one_out"]["low"], report["figures"]["leave_one_out"]["high"]) == (0, None)


def test_a_metric_is_chosen_by_its_name_and_takes_options_as_in_a_spec(site: FakeSite, run: Callable[..., Any]) -> None:
    offer(site, "redness")
    _, report = run("--metric", '{"type": "redness", "scale": 2}', "--metric", "colour", "--consistency", "1")
    assert {mean["figure"] for mean in report["means"]} == {"red", "colour_met"}
    assert 1.6 < mean_of(report, "red", 1) < 2 and report["metrics"]["redness"]["options"]["scale"] == 2


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        ("1 / 0", "raises ZeroDivisionError: division by zero"),
        ('{"red": float("nan")}', "'red' is nan, not finite"),
        ('{"rot": red}', "gives rot, but declares red"),
        ('{"red": 11 * red + 11}', "not between 0 and 10 as declared"),
        ('{"red": "much"}', "'red' is 'much', not a number or None"),
        ("red", "not figures by name"),
    ],
)
@pytest.mark.parametrize("method", ["measure", "measure_set"])
def test_a_metric_that_fails_is_told_and_costs_only_itself(
    site: FakeSite, run: Callable[..., Any], method: str, returned: str, told: str
) -> None:
    offer(site, "redness", method=method, returned=returned)
    with pytest.warns(TuneMV3DWarning, match="redness: ") as caught:
        code, report = run("--metric", "redness", "--metric", "opacity-iou", "--consistency", "1")
    assert code == 1 and list(report["failed"]) == ["redness"]
    assert all(told in each["error"] for each in report["failed"]["redness"])
    assert len(report["failed"]["redness"]) == (2 if method == "measure" else 1)
    assert len(caught) == 1
    assert mean_of(report, "red", 1) is None and mean_of(report, "opacity_iou", 1) > 0
    assert all(row.get("red") is None for row in report["rows"])


def test_an_object_on_which_a_metric_fails_counts_as_the_worst_value(site: FakeSite, run: Callable[..., Any]) -> None:
    offer(site, "redness", returned='{"red": red if sample.prompt == "a red chair" else 1 / 0}')
    with pytest.warns(TuneMV3DWarning, match="'a blue chair', seed 1, K = 1: raises ZeroDivisionError"):
        code, report = run("--metric", "redness", "--consistency", "1")
    assert code == 1
    first, second = rows_of(report, 1)
    # The figure is better when lower, and is 10 at most.
    assert 0.8 < first["red"] < 1 and first["error"] is None
    assert second["red"] == 10 and "redness: raises ZeroDivisionError" in second["error"]
    (mean,) = [mean for mean in report["means"] if mean["figure"] == "red"]
    assert mean["mean"] == pytest.approx((first["red"] + 10) / 2) and (mean["n"], mean["failed"]) == (2, 1)


def test_a_metric_that_cannot_be_loaded_is_told_and_costs_only_itself(site: FakeSite, run: Callable[..., Any]) -> None:
    site.module("gone", "raise RuntimeError('no licence')")
    site.distribution("their-gone", {"tunemv3d.metric": {"gone": "gone:PLUGIN"}})
    with pytest.warns(TuneMV3DWarning, match="metric 'gone' is left out: .*no licence"):
        code, report = run("--consistency", "1")
    assert code == 1 and "no licence" in report["failed"]["gone"][0]["error"]
    assert mean_of(report, "hull_recall", 1) > 0.98


def test_what_cannot_be_asked_for_is_refused_before_work_starts(site: FakeSite, run: Callable[..., Any]) -> None:
    offer(site, "redness")
    offer(site, "red-too", figure="red")
    offer(site, "even", figure="consistency")
    offer(site, "needy", needs='("mass",)', figure="needy")
    with pytest.raises(ComponentError, match=r"no component 'hul-recall'\. Did you mean 'hull-recall'\?"):
        run("--metric", "hul-recall")
    with pytest.raises(SpecError, match=r"--metric redness: scal: unknown\. Did you mean 'scale'\?"):
        run("--metric", '{"type": "redness", "scal": 2}')
    with pytest.raises(SpecError, match="not JSON"):
        run("--metric", '{"type": "redness"')
    with pytest.raises(ComponentError, match="metrics 'redness' and 'red-too' both give 'red'"):
        run("--metric", "redness", "--metric", "red-too")
    with pytest.raises(ComponentError, match="metric 'even' gives 'consistency', which the report has"):
        run("--metric", "even")
    with pytest.raises(ComponentError, match="metric 'needy' of their-needy needs 'mass'; what can be needed: field"):
        run("--metric", "needy")
    with pytest.raises(TuneMV3DError, match="is read for --real alone"):
        run("--data", "elsewhere")


def test_nobody_takes_a_figures_name_from_ours(site: FakeSite, run: Callable[..., Any]) -> None:
    offer(site, "a-colour", figure="colour_met", returned='{"colour_met": 7}')
    with pytest.warns(TuneMV3DWarning, match="metrics 'colour' and 'a-colour' both give 'colour_met'"):
        code, report = run("--consistency", "1")
    assert code == 1 and list(report["failed"]) == ["a-colour"]
    assert mean_of(report, "colour_met", 1) == 0.5


def test_a_metric_that_needs_a_record_measures_real_objects_alone(site: FakeSite, run: Callable[..., Any]) -> None:
    offer(site, "redness", needs='("record",)', returned='{"red": sample.record.views}')
    with pytest.raises(TuneMV3DError, match="--metric redness: objects sampled from prompts have no record"):
        run("--metric", "redness")
    code, report = run("--metric", "redness", "--real", "--consistency", "1")
    assert code == 0 and mean_of(report, "red", None, "real") == 8
    assert mean_of(report, "red", 1) is None
    assert "no record" in report["skipped"]["redness"]


def test_a_metric_whose_options_have_no_default_waits_until_it_is_asked_for(
    site: FakeSite, run: Callable[..., Any]
) -> None:
    offer(site, "redness", default="")
    code, report = run("--consistency", "1")
    assert code == 0 and "scale: missing" in report["skipped"]["redness"]
    assert "red" not in report["figures"]


def test_real_objects_come_from_the_dataset_of_the_checkpoint_whoever_reads_it(run: Callable[..., Any]) -> None:
    code, report = run("--metric", "colour", "--real", "--consistency", "1")
    (row,) = rows_of(report, None, "real")
    assert code == 0 and (row["id"], row["prompt"], row["colour_met"]) == ("chair1", "a red chair", 1)


def test_another_dataset_is_a_path_for_the_same_reader_or_a_reader(run: Callable[..., Any]) -> None:
    with pytest.raises(SpecError, match="--data my-chairs: path: unknown"):
        run("--real", "--data", "elsewhere")
    with pytest.raises(SpecError, match="--data my-chairs: colour: missing"):
        run("--real", "--data", "my-chairs")
    with pytest.raises(ComponentError, match=r"no component 'my-chair'\. Did you mean 'my-chairs'\?"):
        run("--real", "--data", '{"type": "my-chair"}')
    code, report = run("--metric", "colour", "--real", "--data", '{"type": "my-chairs", "colour": "any"}')
    assert code == 0 and mean_of(report, "colour_met", None, "real") == 1


def test_a_dataset_that_is_gone_says_how_to_name_another() -> None:
    spec: Any = SimpleNamespace(data=ComponentSpec(type="no-such-reader"))
    with pytest.raises(DatasetError, match=r"the checkpoint's dataset: no component 'no-such-reader'.*--data"):
        open_dataset(spec)
