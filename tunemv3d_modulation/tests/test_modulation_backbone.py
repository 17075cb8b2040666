import hashlib
import json
import shutil
import socket
import warnings
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, DiffusionPipeline, UNet2DConditionModel
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from tiny_pipelines import pipeline
from torch import nn
from toy_model import load, toy_inputs, unet_forward

from tunemv3d_core.errors import ComponentError
from tunemv3d_core.ports import BuildContext
from tunemv3d_modulation.backbone import IMAGES_AT_ONCE
from tunemv3d_modulation.unet import check_supported


@pytest.mark.parametrize("size", [(8, 8), (7, 10)])
@torch.no_grad()
def test_encode_and_decode_are_the_models_own_forward_bit_for_bit(backbone, size):
    text = backbone.encode_text(["a red chair", "a stool"])
    x_t, t = torch.randn(2, 3, 4, *size), torch.tensor([[999.0, 0.0, 12.5], [3, 500, 250.75]])
    split = backbone.decode(backbone.encode(x_t, t, text), None, t, text)
    assert torch.equal(split, unet_forward(backbone, x_t, t, text))
    assert split.std() > 0.1


@torch.no_grad()
def test_residuals_act_as_those_of_a_controlnet_and_zeros_as_none(backbone):
    inputs, text = toy_inputs(), backbone.encode_text(["a red chair", "a stool"])
    skips = backbone.encode(**inputs, text=text)
    none = backbone.decode(skips, None, inputs["t"], text)
    zeros = backbone.decode(skips, tuple(torch.zeros_like(m) for m in skips.maps), inputs["t"], text)
    assert torch.equal(none, zeros)
    residuals = tuple(torch.randn_like(m) for m in skips.maps)
    added = backbone.decode(skips, residuals, inputs["t"], text)
    control = {"down_block_additional_residuals": residuals[:-1], "mid_block_additional_residual": residuals[-1]}
    assert torch.equal(added, unet_forward(backbone, inputs["x_t"], inputs["t"], text, **control))
    assert not torch.allclose(added, none)


@pytest.mark.parametrize(("kind", "count"), [("sd15", 13), ("sd21", 13), ("sdxl", 10), ("mini", 7)])
@torch.no_grad()
def test_ports_tell_what_encode_and_encode_text_give(folders, kind, count):
    backbone = load(folders[kind])
    inputs, text = toy_inputs(), backbone.encode_text(["a", "b"])
    maps = backbone.encode(**inputs, text=text).maps
    assert [(m.shape[1], 8 // m.shape[2]) for m in maps] == [(p.channels, p.stride) for p in backbone.ports.residuals]
    assert len(maps) == count
    assert text.tokens.shape == (2, 16, backbone.ports.text_channels)
    assert (None if text.pooled is None else text.pooled.shape[1]) == backbone.ports.pooled_channels
    assert backbone.ports.prediction == ("v_prediction" if kind == "sd21" else "epsilon")


def test_the_frozen_model_stays_frozen_and_in_evaluation_mode(backbone):
    parent = nn.ModuleList([backbone]).train()
    assert parent.training and not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


def test_the_frozen_encoder_keeps_no_graph_but_passes_gradients_to_its_input(backbone):
    inputs, text = toy_inputs(), backbone.encode_text(["a", "b"])
    assert not backbone.encode(**inputs, text=text).maps[-1].requires_grad
    inputs["x_t"].requires_grad_()
    backbone.decode(backbone.encode(**inputs, text=text), None, inputs["t"], text).sum().backward()
    assert inputs["x_t"].grad.abs().min() > 0


def test_trainable_all_trains_the_unet_alone(folders):
    backbone = load(folders["mini"], trainable="all").train()
    assert backbone.unet.training and not backbone.vae.training and not backbone.prompts.training
    inputs, text = toy_inputs(), backbone.encode_text(["a", "b"])
    backbone.decode(backbone.encode(**inputs, text=text), None, inputs["t"], text).square().mean().backward()
    without = {name for name, p in backbone.named_parameters() if p.grad is None}
    assert without == {name for name, _ in backbone.named_parameters() if not name.startswith("unet.")}


@torch.no_grad()
def test_images_and_latents_pass_the_vae_as_diffusers_passes_them(backbone, folder):
    vae = AutoencoderKL.from_pretrained(folder, subfolder="vae")
    images = torch.rand(3, 5, 3, 32, 32) * 2 - 1
    assert images[:, :, 0, 0, 0].numel() > IMAGES_AT_ONCE
    latents = backbone.encode_images(images)
    assert latents.shape == (3, 5, 4, 8, 8)
    assert backbone.ports.image_stride == 4
    wanted = vae.encode(images.flatten(0, 1)).latent_dist.mean * vae.config.scaling_factor
    torch.testing.assert_close(latents.flatten(0, 1), wanted)
    decoded = vae.decode(wanted / vae.config.scaling_factor).sample
    torch.testing.assert_close(backbone.decode_latents(latents).flatten(0, 1), decoded)


@torch.no_grad()
def test_a_shift_factor_moves_the_latents(folders):
    backbone = load(folders["mini"])
    images = torch.rand(1, 2, 3, 32, 32)
    plain, decoded = backbone.encode_images(images), backbone.decode_latents(torch.zeros(1, 1, 4, 8, 8))
    backbone.vae.register_to_config(shift_factor=0.5)
    scale = backbone.vae.config.scaling_factor
    torch.testing.assert_close(backbone.encode_images(images), plain - 0.5 * scale)
    torch.testing.assert_close(backbone.decode_latents(torch.full((1, 1, 4, 8, 8), -0.5 * scale)), decoded)


@torch.no_grad()
def test_text_is_encoded_as_diffusers_encodes_it(backbone, folder):
    pipe = DiffusionPipeline.from_pretrained(folder)
    options = {"device": "cpu", "num_images_per_prompt": 1, "do_classifier_free_guidance": True}
    prompt, empty, *pooled = pipe.encode_prompt("a red office chair", **options)
    for words, tokens, pool in zip(["a red office chair", ""], [prompt, empty], pooled or [None] * 2, strict=True):
        text = backbone.encode_text([words])
        assert torch.equal(text.tokens, tokens) and text.mask is None
        assert (text.pooled is None) if pool is None else torch.equal(text.pooled, pool)


@pytest.mark.slow
@torch.no_grad()
def test_the_empty_prompt_is_zeros_where_the_pipeline_says_so(folders, tmp_path):
    assert not load(folders["sdxl"]).encode_text([""]).tokens.any()
    folder = Path(shutil.copytree(folders["sdxl"], tmp_path / "encoded"))
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "force_zeros_for_empty_prompt": False}))
    _, tokens, _, pooled = DiffusionPipeline.from_pretrained(folder).encode_prompt("a", negative_prompt="")
    text = load(folder).encode_text([""])
    assert torch.equal(text.tokens, tokens) and torch.equal(text.pooled, pooled) and tokens.any()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
@torch.no_grad()
def test_a_vae_that_overflows_in_half_precision_stays_in_single(folders, kind, tmp_path):
    half = BuildContext(torch.device("cpu"), torch.float16)
    folder = Path(shutil.copytree(folders[kind], tmp_path / "half"))
    for upcast, dtype in ((True, torch.float32), (False, torch.float16)):
        config = json.loads((folder / "vae/config.json").read_text())
        (folder / "vae/config.json").write_text(json.dumps({**config, "force_upcast": upcast}))
        backbone = load(folder, half)
        assert backbone.vae.dtype == dtype and backbone.unet.dtype == torch.float16
        latents = backbone.encode_images(torch.rand(1, 1, 3, 32, 32))
        assert latents.dtype == torch.float16 and backbone.decode_latents(latents).isfinite().all()


def test_a_cut_prompt_is_told_once(folders):
    backbone = load(folders["mini"])
    with pytest.warns(UserWarning, match=r"takes 16 tokens; a prompt of \d+ is cut before 'chair chair"):
        backbone.encode_text(["a stool", "chair " * 30])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backbone.encode_text(["chair " * 30])


def test_weights_stored_in_half_precision_are_used_in_the_precision_asked_for(tmp_path):
    pipeline("mini").to(torch.float16).save_pretrained(tmp_path)
    for dtype in (torch.float32, torch.bfloat16):
        backbone = load(tmp_path, context=BuildContext(torch.device("cpu"), dtype))
        assert {p.dtype for p in backbone.parameters()} == {dtype}


def test_weights_under_the_names_of_older_libraries_are_known(folders, tmp_path):
    """As the published Stable Diffusion 1.5 has them."""
    folder, wanted = Path(shutil.copytree(folders["sd15"], tmp_path / "older")), load(folders["sd15"]).state_dict()
    older = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    file = folder / "vae/diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    for new, old in older.items():
        weights = {name.replace(new, old): weight for name, weight in weights.items()}
    save_file(weights, file, {"format": "pt"})
    file = folder / "text_encoder/model.safetensors"
    weights = {f"text_model.{name}": weight for name, weight in load_file(file).items()}
    save_file(weights | {"text_model.embeddings.position_ids": torch.arange(16)[None]}, file, {"format": "pt"})
    loaded = load(folder).state_dict()
    assert loaded.keys() == wanted.keys() and all(torch.equal(weight, wanted[name]) for name, weight in loaded.items())


def test_the_fingerprint_is_the_hash_of_what_was_read(folders, tmp_path):
    folder = Path(shutil.copytree(folders["mini"], tmp_path / "copy"))
    unet = folder / "unet/diffusion_pytorch_model.safetensors"
    backbone, digest = load(folder), hashlib.sha256(unet.read_bytes()).hexdigest()
    before = backbone.fingerprint()
    assert before["unet/diffusion_pytorch_model.safetensors"] == digest
    assert {name.split("/")[0] for name in before} == {"text_encoder", "unet", "vae"}
    weights = load_file(unet)
    name = next(iter(weights))
    save_file(weights | {name: weights[name] + 1}, unet, {"format": "pt"})
    assert backbone.fingerprint() == before
    other = load(folder).fingerprint()
    assert {name for name in before if other[name] != before[name]} == {"unet/diffusion_pytorch_model.safetensors"}


def test_files_beside_those_that_are_read_leave_the_fingerprint(folders, tmp_path):
    """As the published repositories have them: two copies of one model are one model."""
    folder = Path(shutil.copytree(folders["mini"], tmp_path / "more"))
    for name in ("fp16.safetensors", "non_ema.safetensors", "bin", "fp16.bin"):
        (folder / f"unet/diffusion_pytorch_model.{name}").write_bytes(b"other")
    (folder / "text_encoder/pytorch_model.bin").write_bytes(b"other")
    assert load(folder).fingerprint() == load(folders["mini"]).fingerprint()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("center_input_sample", True),
        ("num_class_embeds", 10),
        ("addition_embed_type", "text"),
        ("time_cond_proj_dim", 8),
        ("in_channels", 9),
        ("down_block_types", ["DownBlock2D", "AttnDownBlock2D"]),
        ("mid_block_type", "UNetMidBlock2DSimpleCrossAttn"),
    ],
)
def test_unets_of_other_layouts_are_refused_by_the_option_in_the_way(option, value):
    config = dict(UNet2DConditionModel(block_out_channels=(32, 32, 32, 32), cross_attention_dim=8).config)
    check_supported(config, "it")
    with pytest.raises(ComponentError, match=f"it: the UNet .*{option}"):
        check_supported({**config, option: value}, "it")


def test_parts_of_different_models_are_refused(tmp_path):
    pipeline("mini", cross_attention_dim=16).save_pretrained(tmp_path)
    with pytest.raises(ComponentError, match="attends to 16 text channels, but the text encoder gives 32"):
        load(tmp_path)


def test_what_cannot_be_loaded_is_one_message_that_says_where(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ComponentError, match=r"no model 'nowhere/at-all'.*path .*nowhere/at-all.*hub id"):
        load(Path("nowhere/at-all"))
    with pytest.raises(ComponentError, match="no model 'sd-nimi'"):
        load(Path("sd-nimi"))
    (tmp_path / "unet").mkdir()
    with pytest.raises(ComponentError, match="it lacks model_index"):
        load(tmp_path)
    broken = tmp_path / "broken"
    shutil.copytree(folders["mini"], broken)
    (broken / "unet/diffusion_pytorch_model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ComponentError, match=r"cannot read .*broken/unet"):
        load(broken)
    (broken / "scheduler/scheduler_config.json").write_text(
        json.dumps({"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000})
    )
    shutil.copy(folders["mini"] / "unet/diffusion_pytorch_model.safetensors", broken / "unet")
    with pytest.raises(ComponentError, match=r"FlowMatchEuler.*no variance-preserving"):
        load(broken)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_weights_that_are_missing_are_not_made_up(folders, tmp_path, capfd, part):
    folder = Path(shutil.copytree(folders["mini"], tmp_path / "half"))
    (file,) = (folder / part).glob("*.safetensors")
    weights = load_file(file)
    name = sorted(weights)[0]
    save_file({k: v for k, v in weights.items() if k != name}, file, {"format": "pt"})
    with pytest.raises(ComponentError, match=f"cannot read {folder}/{part}: .*1 weights are missing"):
        load(folder)
    assert capfd.readouterr().err == ""


def test_a_tokenizer_without_words_is_refused(folders, tmp_path):
    folder = Path(shutil.copytree(folders["mini"], tmp_path / "wordless"))
    for file in (folder / "tokenizer").iterdir():
        file.unlink()
    with pytest.raises(ComponentError, match=f"cannot read {folder}/tokenizer: .*no vocabulary"):
        load(folder)


def test_without_a_network_a_hub_id_fails_at_once(monkeypatch):
    """The libraries themselves would ask again and again, for minutes."""
    asked = []

    def unreachable(*_, **__):
        asked.append(1)
        if len(asked) > 3:
            pytest.fail("asked again and again")
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    with pytest.raises(ComponentError, match=r"no model 'nowhere/at-all'.*Offline, give the path"):
        load("nowhere/at-all")
    assert asked


def test_the_latent_key_tells_image_encoders_apart(folders):
    one, same, other = load(folders["mini"]), load(folders["mini"]), load(folders["mini"])
    assert one.latent_key() == same.latent_key()
    with torch.no_grad():
        other.unet.conv_in.weight.add_(1)
    assert other.latent_key() == one.latent_key(), "the UNet makes no latents"
    with torch.no_grad():
        other.vae.encoder.conv_in.weight[0, 0, 0, 0] += 1e-3
    assert other.latent_key() != one.latent_key()
    same.vae.register_to_config(shift_factor=0.25)
    assert same.latent_key() != one.latent_key()
