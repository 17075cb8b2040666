"""AdamW with moments of 8 bits: what is said without bitsandbytes, and with it whole runs."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.errors import ComponentError
from tunemv3d_core.slots import OptimizerContext
from tunemv3d_train.optimisation import Optimisation
from tunemv3d_train.trainer import train

EIGHT = 'optimizer.algorithm={"type": "adamw-8bit", "betas": [0.9, 0.99]}'


def test_without_bitsandbytes_it_says_what_to_install(
    spec_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(ComponentError, match=r"'adamw-8bit' needs bitsandbytes: pip install 'tunemv3d-train\[8bit\]'"):
        train(load_spec(spec_file, [EIGHT]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_that_goes_on_is_the_run_that_never_stopped(spec_file: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    whole = train(load_spec(spec_file, [EIGHT, 'optimizer.schedule={"type": "constant"}']), tmp_path / "whole")
    first = [EIGHT, 'optimizer.schedule={"type": "constant"}', "train.steps=3"]
    train(load_spec(spec_file, first), tmp_path / "run")
    again = train(load_spec(spec_file, [*first, "train.steps=6"]), tmp_path / "run", resume=True)
    for name in ("model.safetensors", "state/tensors.safetensors"):
        one, two = load_file(whole.checkpoint / name), load_file(again.checkpoint / name)
        assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def test_it_learns_as_adamw_does_with_a_quarter_of_the_moments(spec_file: Path) -> None:
    pytest.importorskip("bitsandbytes")
    ends, sizes = [], []
    for algorithm in ("adamw", "adamw-8bit"):
        torch.manual_seed(0)
        layer, inputs = torch.nn.Linear(128, 128), torch.randn(64, 128)
        given = [f'optimizer={{"algorithm": {{"type": "{algorithm}"}}, "lr": 1e-2, "parts": null}}']
        parameters = {f"field.{name}": each for name, each in layer.named_parameters()}
        (optimizer,) = Optimisation(load_spec(spec_file, given).optimizer, parameters, OptimizerContext()).optimizers
        for _ in range(50):
            optimizer.zero_grad()
            loss = (layer(inputs) - inputs.flip(1)).square().mean()
            loss.backward()
            optimizer.step()
        ends.append(float(loss.detach()))
        moments = [v for v in optimizer.state[layer.weight].values() if isinstance(v, torch.Tensor) and v.ndim == 2]
        sizes.append(sum(v.nbytes for v in moments))
    assert ends[1] == pytest.approx(ends[0], rel=0.05) and sizes[0] == 4 * sizes[1]
