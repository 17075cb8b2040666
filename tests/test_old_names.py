"""Specs and weights with the names that options and layers had before: read, told, and the same as with today's."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tunemv3d_core.assemble import assemble
from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.config.old_names import current_tensor_names
from tunemv3d_core.config.run_spec import OptimizerSpec, spec_id
from tunemv3d_core.errors import SpecError, TuneMV3DWarning
from tunemv3d_core.generation import LoadedCheckpoint
from tunemv3d_core.io.checkpoint import load_weights, spec_ids, trainable_tensors
from tunemv3d_core.placement import Placement
from tunemv3d_core.plugins.assets import find_asset

MERGE = {"aggregator": {"type": "mean-variance"}}
SDF = {"sharpness": ("variance", 0.25), "chunk": ("chunk_size", 512), "difference": ("fd_eps", 0.01)}
RECOMPUTE = {"recompute": ("gradient_checkpointing", True)}
FIELDS: dict[str, tuple[dict[str, Any], dict[str, tuple[str, Any]], dict[str, str]]] = {
    "neus": (
        {**MERGE, "hidden": 16},
        SDF | RECOMPUTE,
        {
            "sharpness": "variance",
            "network.enter.weight": "network.fc_in.weight",
            "network.distance_seen.weight": "network.distance_agg.weight",
            "network.value_seen.weight": "network.value_agg.weight",
        },
    ),
    "triplane": (
        {**MERGE, "hidden": 16},
        SDF | RECOMPUTE,
        {
            "sharpness": "variance",
            "planes.enter.bias": "planes.fc_in.bias",
            "network.distance_seen.weight": "network.distance_agg.weight",
        },
    ),
    "volume": (
        {"cells": 8, "channels": [8, 16]},
        SDF | RECOMPUTE,
        {
            "sharpness": "variance",
            "network.unet.enter.weight": "network.unet.conv_in.weight",
            "network.value_seen.weight": "network.value_agg.weight",
        },
    ),
    "density": (
        {**MERGE, "hidden": 16, "blocks": 2},
        {"chunk": ("chunk_size", 512), "difference": ("fd_eps", 0.01)},
        {
            "network.enter.weight": "network.fc_in.weight",
            "network.blocks.1.seen.weight": "network.blocks.1.agg.weight",
            "network.density_seen.weight": "network.density_agg.weight",
            "network.value_seen.weight": "network.value_agg.weight",
        },
    ),
    "gaussians": (
        {"hidden": 8},
        {"chunk": ("chunk_size", 512)},
        {
            "network.density.enter.weight": "network.density.fc_in.weight",
            "network.density.leave.bias": "network.density.fc_out.bias",
            "network.density.straight.weight": "network.density.skip.weight",
            "network.head.enter.weight": "network.head.conv_in.weight",
            "network.head.leave.weight": "network.head.conv_out.weight",
            "network.head.straight.weight": "network.head.skip.weight",
        },
    ),
    "attention": (
        {"hidden": 16, "head_channels": 8},
        {},
        {
            "network.enter.weight": "network.conv_in.weight",
            "network.leave.weight": "network.conv_out.weight",
            "network.straight.weight": "network.skip.weight",
        },
    ),
}


def write(folder: Path, field: dict[str, Any], scales: dict[str, float | None]) -> Path:
    parts = {part: None if scale is None else {"lr_scale": scale} for part, scale in scales.items()}
    spec = {"extends": "chairs-mini", "name": "mine", "model": {"field": field}, "optimizer": {"parts": parts}}
    file = folder / "mine.json"
    file.write_text(json.dumps(spec))
    return file


@pytest.mark.parametrize("name", FIELDS)
def test_a_spec_with_old_names_is_told_and_means_the_same(name: str, tmp_path: Path) -> None:
    options, renamed, tensors = FIELDS[name]
    block = {"type": name, **options}
    old_block = block | {old: value for old, (_, value) in renamed.items()}
    new_block = block | dict(renamed.values())
    # A null takes a scale of chairs-mini away, whatever field stands there.
    removed = {"field.network.distance_seen": None, "field.network.value_seen": None}
    old_scales = removed | {f"field.{old}": 3.0 for old in tensors}
    new_scales = {key.replace("_seen", "_agg"): None for key in removed} | {f"field.{k}": 3.0 for k in tensors.values()}
    with pytest.warns(TuneMV3DWarning) as caught:
        old = load_spec(write(tmp_path, old_block, old_scales))
    messages = " ".join(str(each.message) for each in caught)
    for word, (now, _) in renamed.items():
        assert f"model.field.{word} is now called '{now}'" in messages
    for word, now in tensors.items():
        assert f"optimizer.parts.field.{word} is now called 'field.{now}'" in messages
    with warnings.catch_warnings():
        warnings.simplefilter("error", TuneMV3DWarning)
        new = load_spec(write(tmp_path, new_block, new_scales))
    assert old == new
    assert "field.network.distance_agg" not in new.optimizer.parts


@pytest.mark.parametrize("name", [name for name, (_, renamed, _) in FIELDS.items() if renamed])
def test_an_option_by_both_names_is_refused(name: str, tmp_path: Path) -> None:
    options, renamed, _ = FIELDS[name]
    for old, (new, value) in renamed.items():
        with pytest.raises(SpecError, match=rf"model\.field\.{old}: is the old name of '{new}', which is given too"):
            load_spec(write(tmp_path, {"type": name, **options, old: value, new: value}, {}))


@pytest.mark.parametrize("name", FIELDS)
def test_old_tensor_names_are_those_of_todays_layers(name: str) -> None:
    options, _, tensors = FIELDS[name]
    spec = load_spec("chairs-mini", [f"model.field={json.dumps({'type': name, **options})}", "optimizer.parts={}"])
    old = {f"field.{word}": f"field.{now}" for word, now in tensors.items()}
    assert current_tensor_names({"field": spec.model.field}, old) == old
    assert current_tensor_names({"field": spec.model.field}, old.values()) == {now: now for now in old.values()}


def test_weights_with_old_names_load_to_the_same(tmp_path: Path) -> None:
    options, _, tensors = FIELDS["gaussians"]
    spec = load_spec("chairs-mini", [f"model.field={json.dumps({'type': 'gaussians', **options})}"])
    model, other = assemble(spec.model), assemble(spec.model)
    with torch.no_grad():
        for parameter in model.field.parameters():
            parameter.normal_()
    own = {name: tensor.clone().contiguous() for name, tensor in trainable_tensors(model).items()}
    before = {f"field.{now}": f"field.{old}" for old, now in tensors.items()}
    assert before.keys() <= own.keys()
    save_file({before.get(name, name): tensor for name, tensor in own.items()}, tmp_path / "old.safetensors")
    assert set(before.values()) <= load_file(tmp_path / "old.safetensors").keys()
    load_weights(other, tmp_path / "old.safetensors")
    for name, tensor in trainable_tensors(other).items():
        assert torch.equal(tensor, own[name]), name


def test_samples_of_before_still_name_their_checkpoint() -> None:
    """A packaged adapter was saved under the id of its old option names; samples carry that id or today's."""
    folder = find_asset("chairs-mini")
    saved = json.loads((folder / "provenance.json").read_text())["spec_id"]
    assert set(spec_ids(folder)) == {saved, spec_id(load_spec(folder / "spec.json", saved=True))}
    assert LoadedCheckpoint.load("chairs-mini", Placement(torch.device("cpu"))).saved_id == saved


OLD_OPTIMIZER = {
    "lr_scale": {"lifter": 0.5, "injector": None},
    "betas": [0.8, 0.9],
    "schedule": "constant",
    "warmup": 3,
}
NEW_OPTIMIZER = {
    "parts": {"lifter": {"lr_scale": 0.5}, "injector": None},
    "algorithm": {"type": "adamw", "betas": [0.8, 0.9]},
    "schedule": {"type": "constant"},
    "warmup": 3,
}


def optimizer_of(folder: Path, optimizer: Any, *overrides: str) -> OptimizerSpec:
    file = folder / "mine.json"
    file.write_text(json.dumps({"extends": "chairs-mini", "name": "mine", "optimizer": optimizer}))
    return load_spec(file, overrides).optimizer


def test_the_optimizers_options_of_before_are_told_and_mean_the_same(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", TuneMV3DWarning)
        new = optimizer_of(tmp_path, NEW_OPTIMIZER)
    assert new.parts["field"].lr_scale == 10 and "injector" not in new.parts
    with pytest.warns(TuneMV3DWarning) as caught:
        assert optimizer_of(tmp_path, OLD_OPTIMIZER) == new
    told = " ".join(str(each.message) for each in caught)
    for words in (
        "optimizer.lr_scale.lifter is now called 'parts.lifter.lr_scale'",
        "optimizer.betas is now called 'algorithm.betas'",
        'optimizer.schedule is now a block: write {"type": "constant"} in new specs',
    ):
        assert words in told
    with pytest.warns(TuneMV3DWarning, match=r"optimizer\.eps is now called"):
        assert optimizer_of(tmp_path, NEW_OPTIMIZER, "optimizer.eps=1e-4") == optimizer_of(
            tmp_path, NEW_OPTIMIZER, "optimizer.algorithm.eps=1e-4"
        )
    with pytest.warns(TuneMV3DWarning, match=r"optimizer\.lr_scale is now called 'parts'"):
        assert optimizer_of(tmp_path, {"lr_scale": None}).parts == {}


def test_an_optimizers_option_by_both_names_is_refused(tmp_path: Path) -> None:
    for both, message in (
        ({"lr_scale": {"field": 2}, "parts": {"field": {"lr_scale": 3}}}, "lr_scale.field: is now 'parts.field.lr_sca"),
        ({"lr_scale": None, "parts": {}}, "lr_scale: is now 'parts', which is given too"),
        ({"eps": 1, "algorithm": {"eps": 2}}, "eps: is now 'algorithm.eps', which is given too"),
    ):
        with pytest.raises(SpecError, match=message):
            optimizer_of(tmp_path, both)
    with pytest.warns(TuneMV3DWarning), pytest.raises(SpecError, match=r"no component 'cosin'\. Did you mean 'cosine'"):
        optimizer_of(tmp_path, {"schedule": "cosin"})
