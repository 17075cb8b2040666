import pytest
import torch
from diffusers import ControlNetModel
from toy_model import SPEC, digest, moved_model, toy_inputs, toy_model

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import PortsError
from tunemv3d_core.ports import BuildContext, InjectorPorts, MapPort, Neighbours
from tunemv3d_modulation import injector
from tunemv3d_modulation.injector import ZeroConv
from tunemv3d_modulation.pipeline import TuneMV3DPipeline
from tunemv3d_modulation.spec import ZeroConvSpec


def test_the_copy_has_the_weights_that_controlnet_copies(backbone):
    control = ControlNetModel.from_unet(backbone.unet).state_dict()
    copied = backbone.copy_encoder().state_dict()
    own = ("controlnet_cond_embedding.", "controlnet_down_blocks.", "controlnet_mid_block.")
    assert copied.keys() == {name for name in control if not name.startswith(own)}
    assert all(torch.equal(tensor, control[name]) for name, tensor in copied.items())


def test_the_copy_is_trainable_and_shares_nothing(backbone):
    copied = backbone.copy_encoder()
    assert all(p.requires_grad for p in copied.parameters())
    assert {p.data_ptr() for p in copied.parameters()}.isdisjoint(p.data_ptr() for p in backbone.parameters())


@pytest.mark.parametrize("raw_noise", [True, False])
@torch.no_grad()
def test_o_starts_as_the_frozen_encoder_of_the_rendered_latents(folder, raw_noise):
    model = toy_model(folder, raw_noise)
    inputs, values = toy_inputs(model), torch.randn(2, 3, 4, 8, 8)
    lifted = model.lifter(values, inputs["x_t"], inputs["t"], inputs["text"])
    wanted = model.backbone.encode(values, inputs["t"], inputs["text"]).maps
    # Copied weights lie elsewhere in memory, so kernels may round differently.
    torch.testing.assert_close(lifted, wanted, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_o_sees_the_raw_noise_only_where_asked(folders):
    for raw_noise in (True, False):
        model = toy_model(folders["mini"], raw_noise)
        for parameter in model.lifter.parameters():
            parameter.add_(0.01)
        inputs, values = toy_inputs(model), torch.randn(2, 3, 4, 8, 8)
        first = model.lifter(values, inputs["x_t"], inputs["t"], inputs["text"])
        other = model.lifter(values, -inputs["x_t"], inputs["t"], inputs["text"])
        assert torch.equal(first[0], other[0]) is not raw_noise


def test_at_the_start_the_modulated_model_is_the_frozen_one_bit_for_bit(folder):
    model = toy_model(folder)
    inputs = toy_inputs(model)
    modulated = model(**inputs).modulated
    frozen = model.frozen(inputs["x_t"], inputs["t"], inputs["text"])
    assert torch.equal(modulated, frozen) and modulated.requires_grad


@pytest.mark.slow
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_sampling_starts_as_the_frozen_model_and_is_it_always_at_k_of_zero(folder, guidance):
    def views(model, consistency):
        options = {"num_inference_steps": 2, "guidance_scale": guidance, "consistency": consistency, "generator": 5}
        return TuneMV3DPipeline.from_model(model, SPEC)("a red chair", Cameras.orbit(2), **options).latents

    untrained, moved = toy_model(folder), moved_model(folder)
    frozen = views(MultiviewDiffusion(untrained.backbone), 1.0)
    assert torch.equal(views(untrained, 1.0), frozen)
    assert torch.equal(views(moved, 0.0), frozen)
    assert not torch.allclose(views(moved, 1.0), frozen, atol=1e-3)


def test_gradients_reach_the_injector_first_then_o_and_nothing_frozen_moves(folders):
    model = toy_model(folders["sd15"]).train()
    # At 8 x 8 the middle block has one cell, whose self-attention no query or key can change.
    inputs = {**toy_inputs(model), "x_t": torch.randn(2, 3, 4, 16, 16)}
    target = torch.randn_like(inputs["x_t"])
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    before = digest(model.backbone)
    reached: list[set[str]] = []
    for _ in range(3):
        optimizer.zero_grad()
        (model(**inputs).modulated - target).square().mean().backward()
        moved = {name for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}
        reached.append(moved)
        optimizer.step()
    assert digest(model.backbone) == before
    assert not any(name.startswith("backbone.") for step in reached for name in step)
    slots = [{name.split(".")[0] for name in step} for step in reached]
    assert slots == [{"injector"}, {"injector", "lifter", "field", "view_encoder"}, slots[1]]
    names = {name for name, _ in model.named_parameters()}
    assert {n for n in names if n.startswith("injector.")} == reached[0]
    # The stem's zero convolution moves at step 2, what lies before it at step 3.
    assert "lifter.stem.4.weight" in reached[1] and "lifter.stem.0.weight" not in reached[1]
    assert {n for n in names if n.startswith("lifter.")} <= reached[2]


def test_injectors_refuse_maps_that_do_not_fit(backbone):
    context = BuildContext(torch.device("cpu"))
    with pytest.raises(PortsError, match="needs a lifter"):
        injector.build(ZeroConvSpec(type="zero-conv"), Neighbours(backbone.ports), context)
    with pytest.raises(PortsError, match=r"strides \[1, 2\], the backbone wants \[1\]"):
        ZeroConv(InjectorPorts((MapPort(4, 1), MapPort(4, 2)), (MapPort(4, 1),)))
    widened = ZeroConv(InjectorPorts((MapPort(2, 1),), (MapPort(3, 1),)))
    residuals = widened((torch.randn(1, 2, 5, 5),), skips=None)
    assert torch.equal(residuals[0], torch.zeros(1, 3, 5, 5))
