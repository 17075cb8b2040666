"""The package on the page ``docs/your-own-training.md`` conforms and trains as it stands there."""

import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import authors_package
import pytest
from fake_distributions import FakeSite

from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.plugins.registry import registry
from tunemv3d_core.testing import Outcome, run_checks
from tunemv3d_train.trainer import train

PAGE = (Path(__file__).parents[2] / "docs/your-own-training.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture
def ideas(offered: Path) -> Iterator[None]:
    """The page's package, installed."""
    (offered / "my_ideas").mkdir()
    for block in blocks("python"):
        if name := re.match(r"# my_ideas/(parts|plugin)\.py\n", block):
            (offered / f"my_ideas/{name[1]}.py").write_text(block, "utf-8")
    points = tomllib.loads("".join(blocks("toml")))["project"]["entry-points"]
    FakeSite(offered).distribution("my-ideas", points, "0.1")
    registry().clear()
    yield
    for module in [name for name in sys.modules if name.partition(".")[0] == "my_ideas"]:
        del sys.modules[module]


@pytest.mark.parametrize(("slot", "name"), [("schedule", "stairs"), ("optimizer", "sgd"), ("loss", "my-depth")])
def test_its_components_conform(ideas: None, slot: str, name: str) -> None:
    results = run_checks(slot, name)
    assert {result.outcome for result in results} == {Outcome.PASSED}, results


def test_its_spec_trains(ideas: None, spec_file: Path, tmp_path: Path) -> None:
    authors_package.with_depth(tmp_path / "discs")
    (spec,) = map(json.loads, blocks("json"))
    del spec["data"]
    own = tmp_path / "own.json"
    own.write_text(json.dumps(spec | {"extends": str(spec_file)}))
    outcome = train(load_spec(own, ["loss.terms.far.patience=0.5"]), tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "loss" in line]
    assert [line["lr"] for line in steps] == pytest.approx([0.005, 0.01, 0.005, 0.0025, 0.0025, 0.00125])
    assert steps[0]["far"] == 0 < steps[1]["far"] and steps[0]["far/metres"] > 0
    assert (tmp_path / "run/pictures/step-000006-far-where.png").exists() and outcome.step == 6
