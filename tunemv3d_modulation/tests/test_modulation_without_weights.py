"""The backbone made of a pipeline's configs alone: the same layers, without their weights."""

import shutil
from pathlib import Path

import pytest
import torch
from toy_model import load

from tunemv3d_core.ports import BuildContext
from tunemv3d_modulation.lifter import build as build_lifter
from tunemv3d_modulation.spec import CopiedEncoderSpec

SHAPES = BuildContext(torch.device("meta"), weights=False)


def described(module: torch.nn.Module) -> dict[str, tuple[torch.Size, torch.dtype, bool]]:
    return {name: (p.shape, p.dtype, p.requires_grad) for name, p in module.named_parameters()}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_layers_and_ports_are_those_of_the_whole_pipeline_and_no_weight_need_be_there(
    kind: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    bare = Path(shutil.copytree(folders[kind], tmp_path / "bare"))
    for file in bare.rglob("*.safetensors"):
        file.unlink()
    whole, shapes = load(folders[kind]), load(bare, SHAPES)
    assert described(shapes) == described(whole)
    assert shapes.ports == whole.ports
    assert all(parameter.is_meta for parameter in shapes.parameters())
    assert shapes.fingerprint() == {} and whole.fingerprint()


def test_a_lifter_copies_layers_without_weights(folders: dict[str, Path]) -> None:
    copies = [
        build_lifter(
            CopiedEncoderSpec(type="copied-encoder"), None, BuildContext(context.device, backbone=load(folder, context))
        )
        for folder, context in ((folders["mini"], BuildContext(torch.device("cpu"))), (folders["mini"], SHAPES))
    ]
    assert described(copies[0]) == described(copies[1])
