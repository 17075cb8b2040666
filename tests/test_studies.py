"""The studies of the documentation can be run with what is installed."""

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
