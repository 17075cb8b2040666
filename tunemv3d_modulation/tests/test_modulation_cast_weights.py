"""Frozen weights held in half precision: under autocast not a bit changes, and what is used without it stays."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from toy_model import load, model_around, toy_inputs

from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.ports import BuildContext
from tunemv3d_core.slots import CastsWeights
from tunemv3d_modulation.spec import CopiedEncoderSpec, LoRAEncoderSpec

LIFTERS = {
    "copied-encoder": CopiedEncoderSpec(type="copied-encoder", stem_channels=8),
    "lora-encoder": LoRAEncoderSpec(type="lora-encoder", rank=3, stem_channels=8),
}


def trained(model: MultiviewDiffusion) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """The modulated and the frozen prediction in bf16, and all gradients."""
    torch.manual_seed(4)
    with torch.no_grad():
        for parameter in model.injector.parameters():
            parameter.normal_(std=0.1)
    inputs = toy_inputs(model)
    with torch.autocast("cpu", torch.bfloat16):
        modulated = model.train()(**inputs).modulated
        frozen = model.frozen(inputs["x_t"], inputs["t"], inputs["text"]).detach()
    modulated.float().square().mean().backward()
    return modulated.detach(), frozen, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("kind", "lifter", "trainable"),
    [
        ("mini", "copied-encoder", "none"),
        ("mini", "lora-encoder", "none"),
        ("mini", "copied-encoder", "lora"),
        ("mini", "copied-encoder", "all"),
        ("sd21", "copied-encoder", "none"),
        pytest.param("sdxl", "lora-encoder", "none", marks=pytest.mark.slow),
    ],
)
def test_under_autocast_predictions_and_gradients_stay_bit_for_bit(
    folders: dict[str, Path], kind: str, lifter: str, trainable: str
) -> None:
    results = []
    for cast in (False, True):
        torch.manual_seed(0)
        model = model_around(load(folders[kind], trainable=trainable), LIFTERS[lifter])
        names = list(model.state_dict())
        if cast:
            assert isinstance(model.backbone, CastsWeights)
            model.backbone.cast_weights(torch.bfloat16)
            assert list(model.state_dict()) == names
            assert all(p.dtype == torch.float32 for p in model.parameters() if p.requires_grad)
            share = [p.dtype == torch.bfloat16 for p in model.backbone.unet.parameters() if not p.requires_grad]
            assert trainable == "all" or sum(share) > len(share) / 2
        results.append(trained(model))
    plain, cast = results
    assert torch.equal(plain[0], cast[0]) and torch.equal(plain[1], cast[1])
    assert plain[2].keys() == cast[2].keys() and len(plain[2]) > 10
    assert all(torch.equal(cast[2][name], gradient) for name, gradient in plain[2].items())


@torch.no_grad()
def test_what_is_used_without_autocast_stays_exact(folders: dict[str, Path]) -> None:
    base, images = load(folders["mini"]), torch.rand(1, 2, 3, 32, 32)
    latents, text = base.encode_images(images), base.encode_text(["a red chair"]).tokens
    base.cast_weights(torch.bfloat16)
    again = base.encode_images(images)
    assert again.dtype == torch.float32 and torch.equal(again, latents)
    assert torch.equal(base.encode_text(["a red chair"]).tokens, text)
    norms = [m for m in base.unet.modules() if isinstance(m, torch.nn.GroupNorm | torch.nn.LayerNorm)]
    assert norms and all(norm.weight.dtype == torch.float32 for norm in norms)


def test_latents_of_a_half_model_are_half(folders: dict[str, Path]) -> None:
    base = load(folders["mini"], BuildContext(torch.device("cpu"), torch.bfloat16))
    assert base.encode_images(torch.rand(1, 1, 3, 32, 32)).dtype == torch.bfloat16
