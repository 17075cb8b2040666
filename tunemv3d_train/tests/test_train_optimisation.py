"""Learning rates, weight decay and the moving average."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from tunemv3d_core.config.run_spec import OptimizerSpec
from tunemv3d_core.errors import SpecError
from tunemv3d_core.slots import OptimizerContext
from tunemv3d_train.moving_average import MovingAverage
from tunemv3d_train.optimisation import Optimisation, trainable


def model() -> nn.Module:
    parts = nn.Module()
    parts.backbone = nn.Linear(2, 2).requires_grad_(False)
    parts.field = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
    parts.field.v = nn.Parameter(torch.tensor(0.3))
    parts.lifter = nn.Module()
    parts.lifter.stem, parts.lifter.copy = nn.Linear(2, 2), nn.Linear(2, 2)
    parts.lifter.stemless = nn.Linear(2, 2)
    return parts


def optimisation(parameters: dict[str, nn.Parameter] | None = None, **options: Any) -> Optimisation:
    spec = OptimizerSpec.model_validate({"lr": 0.1, "weight_decay": 0.01, **options})
    return Optimisation(spec, trainable(model()) if parameters is None else parameters, OptimizerContext())


def by_name(learning: Optimisation) -> dict[str, dict[str, Any]]:
    groups = [group for optimizer in learning.optimizers for group in optimizer.param_groups]
    return {name: group for group in groups for name in group["names"]}


def scaled(**scales: float) -> dict[str, dict[str, float]]:
    return {name.replace("_", "."): {"lr_scale": scale} for name, scale in scales.items()}


def test_the_longest_prefix_sets_the_rate_and_only_matrices_decay() -> None:
    learning = optimisation(parts=scaled(field=10, lifter=0.5, lifter_stem=2))
    assert len(learning.optimizers) == 1 and isinstance(learning.optimizers[0], torch.optim.AdamW)
    found = {name: (group["lr"], group["weight_decay"]) for name, group in by_name(learning).items()}
    assert found == {
        "field.0.weight": (1.0, 0.01),
        "field.0.bias": (1.0, 0),
        "field.1.weight": (1.0, 0),
        "field.1.bias": (1.0, 0),
        "field.v": (1.0, 0),
        "lifter.stem.weight": (0.2, 0.01),
        "lifter.stem.bias": (0.2, 0),
        "lifter.copy.weight": (0.05, 0.01),
        "lifter.copy.bias": (0.05, 0),
        "lifter.stemless.weight": (0.05, 0.01),
        "lifter.stemless.bias": (0.05, 0),
    }


def test_a_part_takes_what_it_leaves_out_from_the_part_around_it() -> None:
    parts = {
        "lifter": {"lr_scale": 0.5, "weight_decay": 0.3, "warmup": 4, "schedule": {"type": "cosine", "start": 0}},
        "lifter.stem": {"lr_scale": 2},
        "lifter.copy": {"weight_decay": 0, "algorithm": {"eps": 1e-3}},
    }
    learning = optimisation(parts=parts, warmup=2)
    groups = by_name(learning)
    assert {name: group["weight_decay"] for name, group in groups.items() if name.endswith("weight")} == {
        "field.0.weight": 0.01,
        "field.1.weight": 0,
        "lifter.stem.weight": 0.3,
        "lifter.copy.weight": 0,
        "lifter.stemless.weight": 0.3,
    }
    assert [optimizer.defaults["eps"] for optimizer in learning.optimizers] == [1e-8, 1e-3]
    for step, own, theirs in ((0, 0.5, 0.25), (5, 1.0, 0.5)):  # of 10 steps: warm-up; half of the cosine
        learning.set_lr(step, 10)
        fallen = theirs * 0.5 * (1 + math.cos(math.pi * step / 10)) / (0.5 if step else 1)
        groups = by_name(learning)
        assert groups["field.v"]["lr"] == pytest.approx(0.1 * own) == learning.lr(step, 10)
        assert groups["lifter.stem.bias"]["lr"] == pytest.approx(0.2 * fallen)
        assert groups["lifter.copy.bias"]["lr"] == pytest.approx(0.05 * fallen)


def test_a_part_that_nothing_is_in_and_an_untrainable_model_are_refused() -> None:
    with pytest.raises(SpecError, match=r"optimizer\.parts\.lifter\.steem: no trainable parameter starts so"):
        optimisation(parts={"lifter.steem": {"warmup": 2}})
    with pytest.raises(SpecError, match="nothing is trainable"):
        optimisation({})


def test_the_rate_rises_stays_and_falls() -> None:
    cosine = optimisation(schedule={"type": "cosine"}, warmup=10, lr=1)
    factors = [cosine.lr(step, 100) for step in range(100)]
    assert factors[:10] == pytest.approx([0.1 * k for k in range(1, 11)])
    assert factors[10:60] == [1.0] * 50
    assert factors[80] == pytest.approx(0.5) and factors[70] == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
    assert 0 < factors[-1] < 0.01
    assert optimisation(lr=1).lr(99, 100) == 1.0


def test_set_lr_keeps_the_ratio_of_slots_and_writes_tensors_in_place() -> None:
    learning = optimisation(parts=scaled(field=10), warmup=2)
    held = learning.optimizers[0].param_groups[0]["lr"] = torch.tensor(0.0)
    learning.set_lr(0, 10)
    rates = sorted({round(float(group["lr"]), 6) for group in learning.optimizers[0].param_groups})
    assert rates == [0.05, 0.5] and held is learning.optimizers[0].param_groups[0]["lr"]


def test_the_average_follows_its_recurrence() -> None:
    parameter = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    average = MovingAverage({"p": parameter}, 0.8)
    expected = parameter.detach().clone()
    for step in range(50):
        with torch.no_grad():
            parameter.add_(torch.tensor([0.1, 0.3]))
        decay = min(0.8, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * parameter.detach()
        average.prepare(step)
        average.update()
    torch.testing.assert_close(average.values["p"], expected, rtol=1e-6, atol=1e-6)
    own = parameter.detach().clone()
    with average.applied():
        assert torch.equal(parameter, average.values["p"])
    assert torch.equal(parameter, own)
