"""Parts and layers that take turns. On a CPU nothing is gained; what is tested is that each is called where its hook
sees it, and that nothing changes."""

import pytest
import torch
from toy_model import SPEC, load, model_around, moved_model

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.generation import has_surface, view_scene
from tunemv3d_core.io.checkpoint import trainable_tensors
from tunemv3d_core.offload import LayerOffload, PartOffload
from tunemv3d_core.placement import Placement
from tunemv3d_modulation.pipeline import TuneMV3DPipeline
from tunemv3d_modulation.spec import LoRAEncoderSpec

GIVEN = {"prompt": "a red chair", "cameras": Cameras.orbit(2), "num_inference_steps": 2, "output_type": "pt"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mini", "sdxl"])
@pytest.mark.parametrize("how", ["model", "sequential"])
def test_offloading_changes_nothing_and_can_be_undone(folders, how, kind):
    pipe = TuneMV3DPipeline.from_model(moved_model(folders[kind]), SPEC)
    given = {**GIVEN, "known_views": {0: torch.rand(3, 32, 32)}}
    plain = pipe(**given)
    {"model": pipe.enable_model_cpu_offload, "sequential": pipe.enable_sequential_cpu_offload}[how](device="cpu")
    offloaded = pipe(**given)
    assert torch.equal(offloaded.latents, plain.latents) and torch.equal(offloaded.images, plain.images)
    assert torch.equal(offloaded.depth, plain.depth) and torch.equal(offloaded.renders, plain.renders)
    unet = pipe.unet
    if how == "sequential":
        assert {p.device.type for p in (*unet.parameters(), *pipe.vae.parameters())} == {"meta"}
        assert pipe.model.lifter.encoder.conv_in.weight.device.type == "meta"
        assert pipe.device.type == pipe.execution_device.type == pipe._execution_device.type == "cpu"
    else:
        assert all(hasattr(part, "_hf_hook") for part in (pipe.vae, pipe.model.backbone.prompts))
    for refused in (lambda: pipe.to("cpu"), lambda: pipe.save_pretrained("nowhere")):
        with pytest.raises(TuneMV3DError, match="take turns on the accelerator: call remove_all_hooks"):
            refused()
    pipe.remove_all_hooks()
    assert not any(hasattr(module, "_hf_hook") for module in pipe.model.modules())
    assert torch.equal(pipe.to("cpu")(**given).latents, plain.latents)


def test_one_way_follows_another(folders):
    pipe = TuneMV3DPipeline.from_model(moved_model(folders["mini"]), SPEC)
    plain = pipe(**GIVEN).latents
    for enable in (pipe.enable_model_cpu_offload, pipe.enable_sequential_cpu_offload, pipe.enable_model_cpu_offload):
        enable(device="cpu")
        enable(device="cpu")
        assert torch.equal(pipe(**GIVEN).latents, plain)


def test_a_lifter_that_shares_the_frozen_weights_shares_them_again_afterwards(folders):
    model = model_around(load(folders["mini"]), LoRAEncoderSpec(type="lora-encoder", rank=2))
    before = set(trainable_tensors(model))
    pipe = TuneMV3DPipeline.from_model(model, SPEC)
    plain = pipe(**GIVEN).latents
    LayerOffload(model, torch.device("cpu"))
    assert torch.equal(pipe(**GIVEN).latents, plain)
    pipe.remove_all_hooks()
    assert set(trainable_tensors(model)) == before


def test_single_layers_go_by_diffusers_groups(folders):
    pipe = TuneMV3DPipeline.from_model(moved_model(folders["mini"]), SPEC)
    plain = pipe(**GIVEN).latents
    with pytest.raises(TuneMV3DError, match="offload_type should be 'leaf_level', not 'block_level'"):
        pipe.enable_group_offload("cpu", offload_type="block_level")
    pipe.enable_group_offload("cpu")
    assert torch.equal(pipe(**GIVEN).latents, plain)
    with pytest.raises(TuneMV3DError, match="diffusers cannot undo group offloading"):
        pipe.remove_all_hooks()


@pytest.mark.parametrize("how", ["model", "sequential"])
def test_the_tools_of_every_command_work_while_parts_take_turns(folders, how):
    """``mesh``, ``evaluate`` and ``view`` fuse, render and decode in any order, without the pipeline."""
    model = moved_model(folders["mini"]).eval()
    cameras, latents = Cameras.orbit(2)[None], torch.randn(1, 2, 4, 8, 8, generator=torch.Generator().manual_seed(2))

    @torch.no_grad()
    def use():
        text = model.backbone.encode_text(["a chair"])
        seen = view_scene(model, latents, text, cameras)
        pictures = model.backbone.decode_latents(latents)
        again = view_scene(model, latents, model.backbone.encode_text(["a chair"]), cameras)
        return seen.renders, pictures, again.opacity, torch.tensor(has_surface(model, cameras, (8, 8)))

    plain = use()
    Placement(torch.device("cpu"), offload=how).apply(model)
    for found, wanted in zip(use(), plain, strict=True):
        assert torch.equal(found, wanted)


def test_a_step_takes_the_others_off_and_encodes_white_before(folders, monkeypatch):
    model = moved_model(folders["mini"]).eval()
    offload, order = PartOffload(model, torch.device("cpu")), []
    for name, hook in zip(("text", "denoiser", "vae"), offload._hooks, strict=True):
        monkeypatch.setattr(hook.hook, "pre_forward", lambda m, *a, _n=name, **k: order.append(f"{_n} on") or (a, k))
        monkeypatch.setattr(hook.hook, "init_hook", lambda m, _n=name: order.append(f"{_n} off") or m)
    with torch.no_grad():
        x_t, t = torch.zeros(1, 2, 4, 8, 8), torch.full((1, 2), 500.0)
        model.predict(x_t, t, model.backbone.encode_text(["a chair"]), Cameras.orbit(2)[None])
        model.backbone.decode_latents(x_t)
    assert order == ["text on", "vae on", "vae off", "denoiser on", "vae on"]
    assert offload._hooks[0].hook.prev_module_hook is offload._hooks[1], "text takes the denoiser off"
    assert offload._hooks[1].hook.prev_module_hook is offload._hooks[0], "the denoiser takes text off"
    assert offload._hooks[2].hook.prev_module_hook is offload._hooks[1], "the autoencoder takes the denoiser off"
