"""Toys in place of checkpoints, for the commands."""

from pathlib import Path

import pytest
import torch
from shape_command_toys import TOY
from shape_toys import SPEC, Formula, blind_model, sphere

from tunemv3d_core.generation import LoadedCheckpoint
from tunemv3d_shape import checkpoints, silhouette_fit, spec
from tunemv3d_shape.checkpoints import Checkpoints
from tunemv3d_shape.spec import MarchingCubesSpec


@pytest.fixture
def toy_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every sample's shape is the toy, but for prompts that say otherwise."""
    toys = {
        "empty": sphere(-0.3),
        "full": Formula(lambda p: -p.norm(dim=-1) - 0.1),
        "nan": Formula(lambda p: p[..., 0] * torch.nan),
    }
    small = MarchingCubesSpec(resolution=32, faces=500, texture=64)
    monkeypatch.setattr(spec, "MarchingCubesSpec", lambda **given: MarchingCubesSpec(**given) if given else small)
    # The commands are what is tested: a fit of the masks that has a few steps is one.
    monkeypatch.setattr(silhouette_fit, "STEPS", 12)
    monkeypatch.setattr(Checkpoints, "shape", lambda self, sample: toys.get(sample.prompt, TOY))


@pytest.fixture
def toy_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "find_checkpoint", Path)
    toy = LoadedCheckpoint("toy", SPEC, blind_model(), {})
    monkeypatch.setattr(LoadedCheckpoint, "load", lambda name, *_: toy)
