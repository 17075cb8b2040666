"""The packaged model with each other field in the interaction field's place: what must hold whatever stands there."""

from pathlib import Path

import pytest
import torch
from test_lifter_swaps import batch, built, digest, predictions

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.config.run_spec import LossSpec
from tunemv3d_core.errors import SampleError
from tunemv3d_core.io.checkpoint import save_checkpoint
from tunemv3d_core.io.samples import SampledObject
from tunemv3d_core.placement import Placement
from tunemv3d_core.sampling import initial_noise
from tunemv3d_shape.checkpoints import Checkpoints
from tunemv3d_train.step import TrainingStep

MERGE = '"aggregator": {"type": "mean-variance"}'
FIELDS = {
    "density": f'{{"type": "density", {MERGE}, "hidden": 32, "samples": 8}}',
    "hash": f'{{"type": "hash", {MERGE}, "levels": 3, "finest": 16, "log2_entries": 10, "hidden": 32, "samples": 8}}',
    "lrm": '{"type": "lrm", "cells": 4, "hidden": 32, "blocks": 1, "channels": 8, "samples": 8}',
    "epipolar": '{"type": "epipolar", "hidden": 32, "samples": 8}',
    "triplane": f'{{"type": "triplane", {MERGE}, "cells": 16, "channels": 16, "samples": 8}}',
    "volume": '{"type": "volume", "cells": 16, "channels": [8, 16], "samples": 8}',
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FIELDS))
def test_training_by_modulation_alone_reaches_everything_and_moves_nothing_frozen(name: str) -> None:
    model = built(load_spec("chairs-mini", [f"model.field={FIELDS[name]}"]))
    before = digest(model)
    modulated, frozen = predictions(model)
    assert torch.equal(modulated, frozen)
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(parameters.values(), lr=1e-3)
    step, inputs = TrainingStep(model, 2, LossSpec(neus=0)), batch(model)
    reached = set()
    for _ in range(5):
        optimizer.zero_grad()
        step(**inputs)[0].backward()
        reached |= {name for name, p in parameters.items() if p.grad is not None and bool(p.grad.any())}
        optimizer.step()
    assert reached == set(parameters), f"no gradient in five steps: {sorted(set(parameters) - reached)}"
    again, frozen_again = predictions(model)
    assert torch.equal(frozen_again, frozen) and not torch.equal(again, frozen)
    assert digest(model) == before


def test_a_field_without_a_surface_is_not_meshed_and_says_so(tmp_path: Path) -> None:
    spec = load_spec("chairs-mini", [f"model.field={FIELDS['density']}"])
    folder = save_checkpoint(tmp_path / "tuned", built(spec), spec)
    manifest = {"checkpoint": str(folder), "prompt": "a red armchair"}
    sampled = SampledObject(tmp_path, manifest, initial_noise([1], 2, 4, (16, 16))[0], Cameras.orbit(2))
    with pytest.raises(SampleError, match=r"the field of '.*tuned' has no surface, so there is nothing to mesh"):
        Checkpoints(Placement(torch.device("cpu"))).shape(sampled)
