"""The studies of the documentation can be run with what is installed."""

import gzip
import json
import re
from pathlib import Path

import pytest

from tunemv3d_eval.study.plan import checkpoints_of, read_study, resolved_specs

STUDIES = sorted((Path(__file__).parents[1] / "docs" / "studies").glob("*.json"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_studys_specs_resolve_and_differ(path: Path) -> None:
    study = read_study(path)
    specs = resolved_specs(study)
    models = [(spec.model, spec.loss, spec.views) for spec in specs.values()]
    assert len({repr(model) for model in models}) == len(models) > 1
    assert len({repr((spec.data, spec.train)) for spec in specs.values()}) == 1


def test_the_mini_study_answers_the_papers_ablations_first() -> None:
    study = read_study(next(path for path in STUDIES if path.stem == "mini"))
    first = next(iter(study.evaluations.values()))
    assert study.variants_of(first) == ["baseline", "direct-features", "no-raw-noise"]
    assert (first.seeds, study.steps_of(first)) == ((0, 1, 2), [500, 1000, 2000])
    assert checkpoints_of(study) == (500, 4)
    specs = resolved_specs(study)
    assert specs["baseline"].model.lifter.raw_noise and not specs["no-raw-noise"].model.lifter.raw_noise
    assert specs["direct-features"].model.field.gives == "features"
    assert specs["no-neus-loss"].loss.neus == specs["no-neus-loss"].loss.mask == 0
    assert [specs[name].views.inputs for name in ("two-views", "four-views", "baseline")] == [2, 4, 8]
    assert specs["no-novel-views"].views.novel == 0 and specs["plain-2d"].model.field is None
    fields = [spec.model.field.type for spec in specs.values() if spec.model.field is not None]
    assert len(set(fields)) == 6
    assert {specs[name].model.injector.type for name in ("baseline", "film", "cross-attention")} == {
        "zero-conv",
        "film",
        "cross-attention",
    }


def test_the_shape_out_of_the_noise_has_the_figures_of_the_raw_json() -> None:
    folder = STUDIES[0].parent
    raw = json.loads(gzip.decompress((folder / "geometry/chairs-mini.json.gz").read_bytes()))
    measured = {row["figure"]: row for row in raw["means"] if row["control"] == "real"}
    page = (folder / "geometry.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", page, re.MULTILINE)
    assert [int(t) for t, _ in rows] == [50, 200, 400, 600, 800, 950]
    for t, cells in rows:
        for name, cell in zip(("chamfer", "f_score", "volume_iou", "normal_error"), cells.split(" | "), strict=True):
            row, digits = measured[f"{name}_t{int(t):03}"], 2 if name == "normal_error" else 3
            told = [float(number) for number in re.findall(r"[\d.]+", cell)]
            assert told == pytest.approx([row["mean"], row["low"], row["high"]], abs=0.51 * 10**-digits), (t, name)
