"""The published Stable Diffusion 1.5 sizes with random weights: assembled, run and trained for one step on a CPU.

Takes two minutes on two cores, 10 GiB of memory and 2 GiB of disk.
"""

import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_pipelines
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from full_size_pipeline import save_pipeline
from torch import Tensor, nn

from tunemv3d_core.assemble import assemble
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.run_spec import LossSpec, ModelSpec
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_train.step import TrainingStep

VIEWS, SIZE = 2, (16, 16)


@pytest.fixture
def model(tmp_path: Path) -> Iterator[MultiviewDiffusion]:
    """Its folder is gone once it is loaded."""
    folder = tmp_path / "sd15"
    try:
        save_pipeline(folder)
        spec = {
            "backbone": {"type": "diffusers", "pretrained": str(folder)},
            "view_encoder": {"type": "resattn"},
            "field": {"type": "neus", "aggregator": {"type": "mean-variance"}, "samples": 4, "eikonal_points": 16},
            "lifter": {"type": "copied-encoder"},
            "injector": {"type": "zero-conv"},
        }
        yield assemble(ModelSpec.model_validate(spec)).train()
    finally:
        shutil.rmtree(folder)


def batch(model: MultiviewDiffusion) -> dict[str, Tensor]:
    torch.manual_seed(1)
    cameras = Cameras.orbit(VIEWS, elevation=15.0)[None]
    return {
        "latents": torch.randn(1, VIEWS, 4, *SIZE),
        "alpha": torch.rand(1, VIEWS, *SIZE),
        "noise": torch.randn(1, VIEWS, 4, *SIZE),
        "t": torch.full((1, VIEWS), 700.0),
        "is_clean": torch.zeros(1, VIEWS, dtype=torch.bool),
        "poses": cameras.camera_to_world,
        "intrinsics": cameras.intrinsics,
        "tokens": model.backbone.encode_text(["a red chair"]).tokens,
    }


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def checksums(module: nn.Module) -> dict[str, int]:
    """CRC-32 of every tensor's bytes: half of SHA-256's time for four gigabytes, and as sure to see a step."""
    return {name: zlib.crc32(tensor.numpy().reshape(-1)) for name, tensor in module.state_dict().items()}


@pytest.mark.slow
def test_stable_diffusion_at_its_full_size_trains_for_one_step(model: MultiviewDiffusion) -> None:
    unet = model.backbone.unet
    with torch.device("meta"):
        control = ControlNetModel.from_unet(
            UNet2DConditionModel(**tiny_pipelines.SD15_UNET), load_weights_from_unet=False
        )
    assert count(unet) == 859_520_964
    assert count(control) == 361_279_120
    # ControlNet is the copied encoder, its zero convolutions, and a network for its hint picture.
    hint = count(control.controlnet_cond_embedding)
    assert count(model.lifter.encoder) + count(model.injector) == count(control) - hint
    frozen, inputs = checksums(model.backbone), batch(model)
    x_t, t, text = inputs["noise"], inputs["t"], model.backbone.encode_text(["a red chair"])
    with torch.no_grad():
        modulated = model(x_t, t, text, Cameras.orbit(VIEWS)[None]).modulated
        assert modulated.isfinite().all() and modulated.std() > 0
        assert torch.equal(modulated, model.frozen(x_t, t, text))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-5, fused=True)
    loss, parts = TrainingStep(model, VIEWS, LossSpec(scene={"eikonal": 0.1, "sparsity": 0}))(**inputs)
    loss.backward()
    optimizer.step()
    assert {"denoise", "neus", "eikonal"} <= parts.keys()
    assert all(bool(part.isfinite().all()) for part in parts.values())
    assert all(bool(conv.weight.any()) for conv in model.injector.convs)
    assert checksums(model.backbone) == frozen
