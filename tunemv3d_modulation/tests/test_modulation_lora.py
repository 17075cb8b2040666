import hashlib
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file
from torch import nn
from toy_model import SPEC, load, moved_model, toy_inputs, unet_forward

from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import ComponentError
from tunemv3d_core.io.checkpoint import load_weights, save_checkpoint, trainable_tensors
from tunemv3d_modulation.spec import DiffusersSpec

RANK, ALPHA = 4, 2.0
KOHYA = {"unet": "lora_unet", "text_encoder": "lora_te", "text_encoder_2": "lora_te2"}


def changes(pipe: DiffusionPipeline, seed: int = 0) -> dict[str, dict[str, tuple[torch.Tensor, torch.Tensor]]]:
    """Random pairs (A, B) for the attention of the UNet and everything linear in the text encoders' layers."""
    generator = torch.Generator().manual_seed(seed)
    drawn = {}
    for part in KOHYA.keys() & pipe.components.keys():
        inside = "transformer_blocks" if part == "unet" else "layers"
        drawn[part] = {
            name: tuple(0.2 * torch.randn(shape, generator=generator) for shape in ((RANK, i), (o, RANK)))
            for name, module in getattr(pipe, part).named_modules()
            if inside in name and isinstance(module, nn.Linear)
            for o, i in [module.weight.shape]
        }
    return drawn


def save_kohya(path: Path, drawn) -> Path:
    tensors = {}
    for part, pairs in drawn.items():
        prefix = "lora_te1" if part == "text_encoder" and "text_encoder_2" in drawn else KOHYA[part]
        for name, (down, up) in pairs.items():
            name = name if part == "unet" or name.startswith("text_model") else f"text_model.{name}"
            key = f"{prefix}_{name.replace('.', '_')}"
            tensors |= {
                f"{key}.lora_down.weight": down,
                f"{key}.lora_up.weight": up,
                f"{key}.alpha": torch.tensor(ALPHA),
            }
    save_file(tensors, path)
    return path


def save_diffusers(path: Path, drawn) -> Path:
    """Alpha equals the rank in this format unless a file's metadata says otherwise."""
    tensors = {}
    for part, pairs in drawn.items():
        for name, (down, up) in pairs.items():
            key = f"{part}.{name}"
            tensors |= {f"{key}.lora_A.weight": down * ALPHA / RANK, f"{key}.lora_B.weight": up}
    save_file(tensors, path)
    return path


def save_both(root: Path, drawn) -> dict[str, Path]:
    return {
        "kohya": save_kohya(root / "k.safetensors", drawn),
        "diffusers": save_diffusers(root / "d.safetensors", drawn),
    }


@pytest.fixture(scope="module", params=["sd15", "sd21", "sdxl"])
def case(request, folders, tmp_path_factory):
    """A folder, its backbone without changes, and changes of it in both formats."""
    folder, root = folders[request.param], tmp_path_factory.mktemp(f"lora-{request.param}")
    return folder, load(folder), save_both(root, changes(DiffusionPipeline.from_pretrained(folder)))


@pytest.mark.slow
@pytest.mark.parametrize("form", ["kohya", "diffusers"])
@torch.no_grad()
def test_lora_weights_act_as_in_diffusers_own_pipeline(case, form):
    folder, plain, files = case
    pipe = DiffusionPipeline.from_pretrained(folder)
    pipe.load_lora_weights(str(files[form]), adapter_name="it")
    pipe.set_adapters("it", 0.5)
    backbone = load(folder, lora=[{"path": str(files[form]), "scale": 0.5}])
    wanted, _, *pooled = pipe.encode_prompt(
        "a red chair", device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=True
    )
    text = backbone.encode_text(["a red chair"])
    torch.testing.assert_close(text.tokens, wanted, rtol=1e-5, atol=1e-5)
    if pooled:
        torch.testing.assert_close(text.pooled, pooled[0], rtol=1e-5, atol=1e-5)
    inputs = {name: tensor[:1] for name, tensor in toy_inputs().items()}
    ours = backbone.decode(backbone.encode(**inputs, text=text), None, inputs["t"], text)
    backbone.unet = pipe.unet
    torch.testing.assert_close(ours, unet_forward(backbone, **inputs, text=text), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(plain.encode_text(["a red chair"]).tokens, wanted, atol=1e-2)
    assert not torch.allclose(ours, unet_forward(plain, **inputs, text=text), atol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["kohya", "diffusers"])
def test_lora_weights_are_added_to_the_models_own(folders, tmp_path, form):
    folder = folders["mini"]
    drawn = changes(DiffusionPipeline.from_pretrained(folder))
    files = save_both(tmp_path, drawn)
    options = [{"path": str(files[form]), "scale": 0.5}, {"path": str(files[form])}]
    plain, changed = load(folder), load(folder, lora=options)
    before, after = plain.unet.state_dict(), changed.unet.state_dict()
    assert before.keys() == after.keys()
    wanted = before | {
        f"{name}.weight": before[f"{name}.weight"] + 1.5 * ALPHA / RANK * up @ down
        for name, (down, up) in drawn["unet"].items()
    }
    torch.testing.assert_close(after, wanted, rtol=1e-5, atol=1e-5)
    digest = hashlib.sha256(files[form].read_bytes()).hexdigest()
    extra = {f"lora/{i}/{files[form].name}": digest for i in range(2)}
    assert changed.fingerprint() == plain.fingerprint() | extra


@pytest.mark.slow
@pytest.mark.parametrize(("made_for", "base"), [("sd15", "sd21"), ("sdxl", "sd15"), ("mini", "sd15"), ("sd15", "mini")])
def test_a_lora_of_another_model_is_refused(folders, tmp_path, made_for, base):
    drawn = changes(DiffusionPipeline.from_pretrained(folders[made_for]))
    for path in save_both(tmp_path, drawn).values():
        with pytest.raises(ComponentError, match=rf"the LoRA {path} does not fit the model: "):
            load(folders[base], lora=[{"path": str(path)}])


@pytest.mark.parametrize("place", ["unet.up_blocks.9.attentions.0.to_q", "text_encoder_2.encoder.layers.0.mlp.fc1"])
def test_a_lora_with_tensors_that_have_no_place_in_the_model_is_refused(folders, tmp_path, place):
    tensors = load_file(save_both(tmp_path, changes(DiffusionPipeline.from_pretrained(folders["mini"])))["diffusers"])
    more = {f"{place}.lora_A.weight": torch.ones(RANK, 32), f"{place}.lora_B.weight": torch.ones(32, RANK)}
    save_file(tensors | more, tmp_path / "more.safetensors")
    with pytest.raises(ComponentError, match=rf"it was made for another model: it changes {place}, which"):
        load(folders["mini"], lora=[{"path": str(tmp_path / "more.safetensors")}])


@pytest.mark.parametrize(
    ("name", "message"),
    [("nowhere.safetensors", r"no file .*nowhere"), ("pickled.bin", r"pickled.bin is no \.safetensors file")],
)
def test_lora_files_that_are_not_there_or_not_safetensors_are_refused(folders, tmp_path, name, message):
    (tmp_path / "pickled.bin").write_bytes(b"")
    with pytest.raises(ComponentError, match=f"lora: .*{message}"):
        load(folders["mini"], lora=[{"path": str(tmp_path / name)}])


def test_a_file_without_lora_weights_is_refused(folders, tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"unet.conv_in.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(ComponentError, match=rf"{path} does not fit the model: .*"):
        load(folders["mini"], lora=[{"path": str(path)}])


def trained(folder: Path, rank: int = 3) -> MultiviewDiffusion:
    return MultiviewDiffusion(load(folder, trainable="lora", lora_rank=rank))


@pytest.mark.slow
@torch.no_grad()
def test_trainable_changes_start_as_none_bit_for_bit(folder, backbone):
    model = trained(folder)
    inputs = toy_inputs(model)
    del inputs["cameras"]
    frozen = MultiviewDiffusion(backbone).frozen(**inputs)
    assert torch.equal(model.frozen(**inputs), frozen)


def test_only_low_rank_changes_of_attention_train(folders):
    model = trained(folders["sd15"]).train()
    assert model.backbone.unet.training and not model.backbone.vae.training
    inputs = toy_inputs(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    for _ in range(2):
        optimizer.zero_grad()
        model(**inputs).modulated.square().mean().backward()
        optimizer.step()
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved and moved <= trainable_tensors(model).keys()
    assert all(".attn1." in name or ".attn2." in name for name in trainable_tensors(model))
    ranks = {len(p) for name, p in model.named_parameters() if name.endswith("lora_A.default.weight")}
    assert ranks == {3}


def test_checkpoints_hold_the_changes_alone_and_bring_them_back(folders, tmp_path):
    model, other = trained(folders["mini"]), trained(folders["mini"])
    with torch.no_grad():
        for tensor in trainable_tensors(model).values():
            tensor.normal_()
    backbone = DiffusersSpec(type="diffusers", pretrained=str(folders["mini"]), trainable="lora", lora_rank=3)
    spec = SPEC.model_copy(update={"model": SPEC.model.model_copy(update={"backbone": backbone})})
    folder = save_checkpoint(tmp_path / "checkpoint", model, spec)
    load_weights(other, folder / "model.safetensors")
    restored = trainable_tensors(other)
    assert restored and all(".lora_" in name for name in restored)
    assert all(torch.equal(tensor, restored[name]) for name, tensor in trainable_tensors(model).items())
    inputs = toy_inputs(model)
    del inputs["cameras"]
    with torch.no_grad():
        assert torch.equal(model.frozen(**inputs), other.frozen(**inputs))
        assert not torch.allclose(model.frozen(**inputs), MultiviewDiffusion(load(folders["mini"])).frozen(**inputs))


@pytest.mark.slow
def test_the_copy_for_a_lifter_is_one_of_the_model_without_changes(folder, backbone):
    copied, plain = load(folder, trainable="lora").copy_encoder(), backbone.copy_encoder()
    wanted = plain.state_dict()
    assert copied.state_dict().keys() == wanted.keys()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in copied.state_dict().items())
    assert all(parameter.requires_grad for parameter in copied.parameters())


def test_changes_train_together_with_the_field(folders):
    model = moved_model(folders["mini"], trainable="lora").train()
    model(**toy_inputs(model)).modulated.square().mean().backward()
    reached = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert reached == {"backbone", "view_encoder", "field", "lifter", "injector"}
