"""Learning rates, weight decay and the moving average."""

import math

import pytest
import torch
from torch import nn

from tunemv3d_core.errors import SpecError
from tunemv3d_train.optimisation import MovingAverage, lr_factor, parameter_groups, set_lr, trainable


def model() -> nn.Module:
    parts = nn.Module()
    parts.backbone = nn.Linear(2, 2).requires_grad_(False)
    parts.field = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
    parts.field.v = nn.Parameter(torch.tensor(0.3))
    parts.lifter = nn.Module()
    parts.lifter.stem, parts.lifter.copy = nn.Linear(2, 2), nn.Linear(2, 2)
    parts.lifter.stemless = nn.Linear(2, 2)
    return parts


def test_the_longest_prefix_sets_the_rate_and_only_matrices_decay() -> None:
    groups = parameter_groups(trainable(model()), 0.1, {"field": 10, "lifter": 0.5, "lifter.stem": 2}, 0.01)
    found = {name: (group["lr"], group["weight_decay"]) for group in groups for name in group["names"]}
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


def test_a_prefix_that_nothing_has_and_an_untrainable_model_are_refused() -> None:
    with pytest.raises(SpecError, match=r"lr_scale\.lifter\.steem"):
        parameter_groups(trainable(model()), 0.1, {"lifter.steem": 2}, 0)
    with pytest.raises(SpecError, match="nothing is trainable"):
        parameter_groups({}, 0.1, {}, 0)


def test_the_rate_rises_stays_and_falls() -> None:
    factors = [lr_factor(step, 100, 10, "cosine") for step in range(100)]
    assert factors[:10] == pytest.approx([0.1 * k for k in range(1, 11)])
    assert factors[10:60] == [1.0] * 50
    assert factors[80] == pytest.approx(0.5) and factors[70] == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
    assert 0 < factors[-1] < 0.01
    assert lr_factor(99, 100, 0, "constant") == 1.0


def test_set_lr_keeps_the_ratio_of_slots_and_writes_tensors_in_place() -> None:
    groups = parameter_groups(trainable(model()), 0.1, {"field": 10}, 0.01)
    optimizer = torch.optim.AdamW(groups)
    held = optimizer.param_groups[0]["lr"] = torch.tensor(0.0)
    set_lr(optimizer, 0.5)
    rates = sorted({round(float(group["lr"]), 6) for group in optimizer.param_groups})
    assert rates == [0.05, 0.5] and held is optimizer.param_groups[0]["lr"]


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
