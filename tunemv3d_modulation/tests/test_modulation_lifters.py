"""What every lifter must hold, and what is peculiar to ``lora-encoder`` and ``direct``."""

from collections.abc import Iterator

import pytest
import tiny_pipelines
import torch
from diffusers import UNet2DConditionModel
from torch import nn
from toy_model import digest, load, model_around, toy_inputs

from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import PortsError
from tunemv3d_core.io.checkpoint import trainable_tensors
from tunemv3d_core.ports import BuildContext, FieldPorts, Neighbours
from tunemv3d_modulation import direct
from tunemv3d_modulation.lora_encoder import add_lora
from tunemv3d_modulation.spec import CopiedEncoderSpec, DirectSpec, LoRAEncoderSpec
from tunemv3d_modulation.unet import EncoderCopy

LORA = LoRAEncoderSpec(type="lora-encoder", rank=3, stem_channels=8)
LIFTERS = {
    "copied-encoder": CopiedEncoderSpec(type="copied-encoder", stem_channels=8),
    "cross-view": CopiedEncoderSpec(type="copied-encoder", stem_channels=8, cross_view_stride=2),
    "lora-encoder": LORA,
    "direct": DirectSpec(type="direct"),
}


def with_lifter(folder, lifter) -> MultiviewDiffusion:
    return model_around(load(folder), lifter, "features" if lifter.type == "direct" else "latents")


def gradient_steps(model: MultiviewDiffusion, inputs, steps: int) -> Iterator[set[str]]:
    """Names of the parameters with a gradient that is not zero, after each backward pass."""
    target = torch.randn_like(inputs["x_t"])
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        (model(**inputs).modulated - target).square().mean().backward()
        yield {name for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}
        optimizer.step()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(LIFTERS))
def test_training_starts_at_the_frozen_model_reaches_everything_and_moves_nothing_frozen(folders, name):
    base = load(folders["sd15"])
    # At 8 x 8 the middle block has one cell, whose self-attention no query or key can change.
    inputs = {**toy_inputs(), "x_t": torch.randn(2, 3, 4, 16, 16)}
    text, before = base.encode_text(["a red chair", ""]), digest(base)
    untouched = base.decode(base.encode(**inputs, text=text), None, inputs["t"], text)
    model = model_around(base, LIFTERS[name], "features" if name == "direct" else "latents").train()
    inputs |= {key: value for key, value in toy_inputs(model).items() if key not in inputs}
    assert torch.equal(model(**inputs).modulated, untouched)
    *_, reached = gradient_steps(model, inputs, 4)
    assert reached == {name for name, p in model.named_parameters() if p.requires_grad}
    assert digest(model.backbone) == before
    assert torch.equal(model.frozen(inputs["x_t"], inputs["t"], text), untouched)
    assert not torch.equal(model(**inputs).modulated, untouched)


@pytest.mark.slow
@pytest.mark.parametrize("raw_noise", [True, False])
def test_lora_starts_as_the_frozen_encoder_of_the_rendered_latents_bit_for_bit(folder, raw_noise):
    model = with_lifter(folder, LORA.model_copy(update={"raw_noise": raw_noise}))
    inputs, values = toy_inputs(model), torch.randn(2, 3, 4, 8, 8)
    lifted = model.lifter(values, inputs["x_t"], inputs["t"], inputs["text"])
    wanted = model.backbone.encode(values, inputs["t"], inputs["text"]).maps
    assert all(torch.equal(mine, frozen) for mine, frozen in zip(lifted, wanted, strict=True))
    assert all(m.requires_grad for m in lifted[1:])


@pytest.mark.slow
def test_lora_shares_the_frozen_weights_and_adds_only_its_own(folder):
    base = load(folder)
    alone = sum(p.numel() for p in base.parameters())
    places = {p.data_ptr() for p in base.unet.parameters()}
    # The encoder's layers as diffusers lays them out: everything that the decoder does not own.
    adapted = [
        layer
        for name, layer in base.unet.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d) and not name.startswith(("up_blocks", "conv_out"))
    ]
    added = sum(LORA.rank * (layer.weight[0].numel() + layer.weight.shape[0]) for layer in adapted)
    model = model_around(base, LORA)
    lifter = model.lifter
    frozen = [p for p in lifter.parameters() if not p.requires_grad]
    assert {p.data_ptr() for p in frozen} <= places and len(frozen) > len(adapted)
    stem = sum(p.numel() for p in lifter.stem.parameters())
    both = {id(p): p.numel() for p in (*base.parameters(), *lifter.parameters())}
    assert sum(both.values()) == alone + added + stem
    trained = {name for name, p in lifter.named_parameters() if p.requires_grad}
    assert sum(p.numel() for p in lifter.parameters() if p.requires_grad) == added + stem
    assert {f"lifter.{name}" for name in trained} == {n for n in trainable_tensors(model) if n.startswith("lifter.")}


def test_lora_still_shares_when_the_whole_model_moves(folders):
    model = with_lifter(folders["mini"], LORA).to(torch.float64)
    frozen = [p for p in model.lifter.parameters() if not p.requires_grad]
    assert frozen and {p.dtype for p in model.parameters()} == {torch.float64}
    assert {p.data_ptr() for p in frozen} <= {p.data_ptr() for p in model.backbone.parameters()}


def test_lora_of_the_published_model_trains_fewer_than_40_million():
    with torch.device("meta"):
        unet = UNet2DConditionModel(**tiny_pipelines.SD15_UNET)
    encoder = add_lora(
        EncoderCopy(unet.requires_grad_(False), 8, share=True), LoRAEncoderSpec(type="lora-encoder").rank
    )
    trained = sum(p.numel() for p in encoder.parameters() if p.requires_grad)
    assert trained == 27_560_192
    assert sum(p.numel() for p in unet.parameters()) == 859_520_964


def test_lora_refuses_an_encoder_that_is_trained(folders):
    base = load(folders["mini"], trainable="all")
    with pytest.raises(PortsError, match=r"'lora-encoder' shares .*trainable.*'none'.*'copied-encoder'"):
        model_around(base, LORA)
    assert all(p.requires_grad for p in base.unet.parameters())


@pytest.mark.parametrize("size", [(8, 8), (7, 10), (9, 3)])
@torch.no_grad()
def test_direct_maps_are_the_features_averaged_over_each_cell(backbone, size):
    neighbours = Neighbours(backbone.ports, field=FieldPorts(4, "features", 5))
    lifter = direct.build(DirectSpec(type="direct"), neighbours, BuildContext(torch.device("cpu"), backbone=backbone))
    x_t, t, text = torch.randn(2, 3, 4, *size), torch.full((2, 3), 700.0), backbone.encode_text(["a", "b"])
    values = torch.randn(2, 3, 5, *size)
    maps = lifter(values, x_t, t, text)
    skips = backbone.encode(x_t, t, text).maps
    assert [m.shape[-2:] for m in maps] == [s.shape[-2:] for s in skips]
    assert [m.shape[1] for m in maps] == [p.channels for p in lifter.ports.maps] == [5] * len(skips)
    for given, port in zip(maps, backbone.ports.residuals, strict=True):
        torch.testing.assert_close(given.double(), cell_means(values.flatten(0, 1), port.stride))
    assert not list(lifter.parameters())


def cell_means(values: torch.Tensor, stride: int) -> torch.Tensor:
    """By a loop in float64; cells at the border average what there is of them."""
    rows = [
        [
            values[:, :, y : y + stride, x : x + stride].double().mean((-2, -1))
            for x in range(0, values.shape[-1], stride)
        ]
        for y in range(0, values.shape[-2], stride)
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def test_direct_needs_a_field(backbone):
    with pytest.raises(PortsError, match=r"'direct' needs a field"):
        direct.build(DirectSpec(type="direct"), Neighbours(backbone.ports), BuildContext(torch.device("cpu")))
