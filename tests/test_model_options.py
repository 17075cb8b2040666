"""Other options of a checkpoint's components when it is sampled: ``tunemv3d sample --set``."""

import pytest

from tunemv3d_core.config.loading import load_spec, with_model_options, with_overrides
from tunemv3d_core.errors import CheckpointError, SpecError
from tunemv3d_core.io.checkpoint import load_checkpoint


def test_options_of_the_model_alone_may_be_set() -> None:
    spec = load_spec("chairs-mini")
    other = with_model_options(spec, ["model.field.samples=5", "model.field.aggregator.type=mean-variance"])
    assert other.model.field is not None and other.model.field.samples == 5  # type: ignore[attr-defined]
    assert other.model_copy(update={"model": spec.model}) == spec
    assert with_model_options(spec, []) is spec
    for override, message in (
        ("sample.steps=5", r"--set sample\.steps=5: of a checkpoint the options of its model's components may be set"),
        ("modelx=5", r"--set modelx=5: of a checkpoint"),
        ("model.field.samplez=5", r"--set: model\.field\.samplez: unknown\. Did you mean 'samples'\?"),
        ("model.field.samples=0", r"--set: model\.field\.samples: should be greater than or equal to 2, got 0"),
        ("model.field.samples", r"should look like model\.field\.omega=2\.0"),
    ):
        with pytest.raises(SpecError, match=message):
            with_model_options(spec, [override])


def test_any_option_of_a_resolved_spec_may_be_set_as_where_it_is_loaded() -> None:
    overrides = ["train.batch=2", "views.novel=3", 'model.lifter={"type": "lora-encoder", "rank": 4}']
    assert with_overrides(load_spec("chairs-mini"), overrides) == load_spec("chairs-mini", overrides)
    with pytest.raises(SpecError, match=r"--set: train\.batchez: unknown"):
        with_overrides(load_spec("chairs-mini"), ["train.batchez=2"])


@pytest.mark.slow
def test_a_checkpoint_is_loaded_with_other_options_and_keeps_its_spec() -> None:
    spec, model = load_checkpoint("chairs-mini", options=["model.field.samples=5"])
    assert model.components["field"].samples == 5 and spec.model.field.samples == 8  # type: ignore
    with pytest.raises(CheckpointError, match="the weights are not this model's"):
        load_checkpoint("chairs-mini", options=["model.field.hidden=32"])
