"""LoRA on top of a backbone, against diffusers' own pipeline and PEFT's own layers."""

import copy
import json

import pytest
import torch
from diffusers import DDIMScheduler, DiffusionPipeline
from peft import LoHaConfig, LoKrConfig, LoraConfig, inject_adapter_in_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from test_modulation_lora import ALPHA, RANK, changes, save_diffusers, save_kohya
from test_modulation_textual_inversion import embedding
from torch import nn
from toy_model import SPEC, load, moved_model, toy_inputs

from tunemv3d_core.additions import Additions, parse_lora
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import ComponentError, TuneMV3DError
from tunemv3d_modulation.pipeline import TuneMV3DPipeline

PROMPTS = ["a red chair", "stool"]


@pytest.fixture(scope="module")
def backbone(folders):
    """Loaded once; every test takes its LoRA out again."""
    return load(folders["mini"])


@pytest.fixture(scope="module")
def pipe(folders):
    """diffusers' own pipeline of the same model."""
    loaded = DiffusionPipeline.from_pretrained(folders["mini"])
    loaded.set_progress_bar_config(disable=True)
    return loaded


@pytest.fixture(autouse=True)
def clean(backbone, pipe):
    yield
    backbone.unload_lora_weights()
    pipe.unload_lora_weights()


@torch.no_grad()
def ours(backbone):
    inputs, text = toy_inputs(), backbone.encode_text(PROMPTS)
    return text.tokens, backbone.decode(backbone.encode(**inputs, text=text), None, inputs["t"], text)


@torch.no_grad()
def theirs(pipe):
    inputs = toy_inputs()
    tokens = pipe.encode_prompt(PROMPTS, "cpu", num_images_per_prompt=1, do_classifier_free_guidance=False)[0]
    flat = inputs["x_t"].flatten(0, 1), inputs["t"].flatten(), tokens.repeat_interleave(3, 0)
    return tokens, pipe.unet(*flat).sample.reshape(inputs["x_t"].shape)


def differences(one, other) -> list[float]:
    return [float((x - y).abs().max()) for x, y in zip(one, other, strict=True)]


def pairs_of(unet: nn.Module) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Random pairs for all that LoCon and LCM-LoRA change: attention, feed-forward, convolutions, time projections."""
    generator, drawn = torch.Generator().manual_seed(7), {}
    for name, module in unet.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d) and "blocks" in name:
            out, *rest = module.weight.shape
            down = 0.1 * torch.randn(RANK, *rest, generator=generator)
            drawn[name] = down, 0.1 * torch.randn(out, RANK, *(1 for _ in rest[1:]), generator=generator)
    return drawn


def locon(pipe) -> dict[str, torch.Tensor]:
    tensors = {}
    for name, (down, up) in pairs_of(pipe.unet).items():
        key = f"lora_unet_{name.replace('.', '_')}"
        tensors |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up, f"{key}.alpha": torch.tensor(ALPHA)}
    return tensors


def older(pipe) -> dict[str, torch.Tensor]:
    """As diffusers wrote attention until 0.22."""
    tensors = {}
    for name, (down, up) in changes(pipe)["unet"].items():
        if "attn" in name:
            stem, _, layer = name.replace("to_out.0", "to_out").rpartition(".")
            tensors |= {
                f"unet.{stem}.processor.{layer}_lora.down.weight": down,
                f"unet.{stem}.processor.{layer}_lora.up.weight": up,
            }
    return tensors


def newer(pipe) -> dict[str, torch.Tensor]:
    pairs = pairs_of(pipe.unet)
    halves = {f"{n}.lora_A.weight": down for n, (down, _) in pairs.items()}
    return {f"unet.{n}": t for n, t in (halves | {f"{n}.lora_B.weight": up for n, (_, up) in pairs.items()}).items()}


FORMS = {"locon and lcm": locon, "older diffusers": older, "newer diffusers": newer}


@pytest.mark.slow
@pytest.mark.parametrize("form", ["kohya", *FORMS])
def test_a_lora_on_top_is_that_of_diffusers_own_pipeline_to_the_last_bit(backbone, pipe, tmp_path, form):
    file = tmp_path / "it.safetensors"
    if form == "kohya":
        save_kohya(file, changes(pipe))
    else:
        save_file(FORMS[form](pipe), file)
    plain = ours(backbone)
    backbone.load_lora_weights(file, "it")
    pipe.load_lora_weights(str(file), adapter_name="it")
    for weight in (1.0, 0.6):
        backbone.set_adapters("it", weight)
        pipe.set_adapters("it", weight)
        assert differences(ours(backbone), theirs(pipe)) == [0.0, 0.0]
    moved = differences(ours(backbone), plain)
    assert moved[1] > 1e-2 and (moved[0] > 1e-2) == (form == "kohya")
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    backbone.unload_lora_weights()
    assert differences(ours(backbone), plain) == [0.0, 0.0] and backbone.get_active_adapters() == []


@pytest.mark.slow
def test_several_with_weights_and_turned_off_one_by_one(backbone, pipe, tmp_path):
    files = [save_kohya(tmp_path / "k.safetensors", changes(pipe)), save_diffusers(tmp_path / "d", changes(pipe, 1))]
    files[1] = files[1].rename(tmp_path / "d.safetensors")
    plain = ours(backbone)
    for file, name in zip(files, ("one", "two"), strict=True):
        backbone.load_lora_weights(file, name)
        pipe.load_lora_weights(str(file), adapter_name=name)
    assert backbone.get_active_adapters() == ["one", "two"]
    for names, weights in ((["one", "two"], [0.5, 1.25]), (["two"], [1.0]), (["one"], [-0.5])):
        backbone.set_adapters(names, weights)
        pipe.set_adapters(names, weights)
        assert differences(ours(backbone), theirs(pipe)) == [0.0, 0.0]
    backbone.set_adapters([])
    assert differences(ours(backbone), plain) == [0.0, 0.0]
    for names, weights, told in (
        (["three"], None, "no LoRA 'three' is loaded; loaded: one, two"),
        (["one"], [1, 2], "1"),
    ):
        with pytest.raises(ComponentError, match=told):
            backbone.set_adapters(names, weights)


@pytest.mark.slow
def test_unprefixed_files_and_folders_of_peft(backbone, pipe, tmp_path):
    file = tmp_path / "d.safetensors"
    tensors = newer(pipe)
    save_file(tensors, file)
    pipe.load_lora_weights(str(file), adapter_name="it")
    wanted = theirs(pipe)
    backbone.load_lora_weights({name.removeprefix("unet."): tensor for name, tensor in tensors.items()})
    assert differences(ours(backbone), wanted) == [0.0, 0.0]
    backbone.unload_lora_weights()
    folder = tmp_path / "adapter"
    folder.mkdir()
    named = {f"base_model.model.{name.removeprefix('unet.')}": tensor for name, tensor in tensors.items()}
    save_file({n: t / 2 if "lora_B" in n else t for n, t in named.items()}, folder / "adapter_model.safetensors")
    with pytest.raises(ComponentError, match=r"adapter_config\.json is missing"):
        backbone.load_lora_weights(folder)
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": 2 * RANK}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    backbone.load_lora_weights(folder)
    assert differences(ours(backbone), wanted) == [0.0, 0.0]


METHODS = {
    "loha": lambda targets: LoHaConfig(r=3, alpha=6, target_modules=targets, init_weights=False),
    "loha with a core": lambda targets: LoHaConfig(
        r=3, alpha=6, target_modules=targets, init_weights=False, use_effective_conv2d=True
    ),
    "lokr": lambda targets: LoKrConfig(r=3, alpha=6, target_modules=targets, init_weights=False),
    "lokr with a core": lambda targets: LoKrConfig(
        r=2, alpha=4, target_modules=targets, init_weights=False, use_effective_conv2d=True, decompose_both=True
    ),
    "dora": lambda targets: LoraConfig(
        r=3, lora_alpha=6, target_modules=targets, use_dora=True, init_lora_weights=False
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("names", ["peft", "kohya"])
@pytest.mark.parametrize("method", METHODS)
def test_other_methods_do_what_pefts_own_layers_do(backbone, pipe, tmp_path, method, names):
    if method == "dora" and names == "peft":
        pytest.skip("diffusers' own form of it is the next test")
    targets = ["to_q", "to_out.0", "conv1", "ff.net.2"]
    torch.manual_seed(3)
    unet = inject_adapter_in_model(METHODS[method](targets), copy.deepcopy(pipe.unet), "it")
    with torch.no_grad():
        for name, parameter in unet.named_parameters():
            if "hada" in name or "lokr" in name or "lora_A" in name or "lora_B" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape))
            elif "magnitude" in name:
                parameter.mul_(1 + 0.2 * torch.randn(parameter.shape))
    state = {
        n.replace(".it", ""): t.contiguous() for n, t in get_peft_model_state_dict(unet, adapter_name="it").items()
    }
    if names == "peft":
        save_file({f"base_model.model.{n}": t for n, t in state.items()}, tmp_path / "adapter_model.safetensors")
        kind = {"loha": "LOHA", "lokr": "LOKR"}[method[:4]]
        rank = METHODS[method](targets).r
        (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": kind, "r": rank, "alpha": 2 * rank}))
        source = tmp_path
    else:
        source = tmp_path / "lycoris.safetensors"
        save_file(as_lycoris(state, METHODS[method](targets).r), source)
    tokens = theirs(pipe)[0]
    inputs = toy_inputs()
    flat = inputs["x_t"].flatten(0, 1), inputs["t"].flatten(), tokens.repeat_interleave(3, 0)
    with torch.no_grad():
        wanted = unet(*flat).sample.reshape(inputs["x_t"].shape)
    plain = ours(backbone)[1]
    backbone.load_lora_weights(source)
    found = ours(backbone)[1]
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=2e-4)
    assert float((wanted - plain).abs().max()) > 0.05


def as_lycoris(state: dict[str, torch.Tensor], rank: int) -> dict[str, torch.Tensor]:
    """PEFT's tensors under the names of LyCORIS' files: the same letters, with dots of modules as underscores."""
    words = {"lora_A.weight": "lora_down.weight", "lora_B.weight": "lora_up.weight"}
    tensors, modules = {}, set()
    for name, tensor in state.items():
        cut = min(p for word in (".hada_", ".lokr_", ".lora_") if (p := name.find(word)) >= 0)
        module, rest = f"lora_unet_{name[:cut].replace('.', '_')}", name[cut + 1 :]
        modules.add(module)
        if rest.startswith("lora_magnitude_vector"):
            tensors[f"{module}.dora_scale"] = (
                tensor[:, None] if tensor.ndim == 1 else tensor.transpose(0, 1).contiguous()
            )
        else:
            tensors[f"{module}.{words.get(rest, rest)}"] = tensor
    return tensors | {f"{module}.alpha": torch.tensor(2.0 * rank) for module in modules}


def test_a_dora_of_diffusers_is_that_of_diffusers(backbone, pipe, tmp_path):
    tensors, unet = newer(pipe), dict(pipe.unet.named_modules())
    for name in [n for n in tensors if "lora_B" in n and ".to_q." in n]:
        layer = name.removeprefix("unet.").removesuffix(".lora_B.weight")
        tensors[f"unet.{layer}.lora_magnitude_vector"] = 1.3 * unet[layer].weight.norm(dim=1)
    tensors = {name: tensor for name, tensor in tensors.items() if ".to_q." in name}
    save_file(tensors, tmp_path / "dora.safetensors")
    pipe.load_lora_weights(str(tmp_path / "dora.safetensors"), adapter_name="it")
    backbone.load_lora_weights(tmp_path / "dora.safetensors")
    assert differences(ours(backbone), theirs(pipe)) == [0.0, 0.0]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("lora_unet_x.oft_blocks", "an OFT"),
        ("lora_unet_x.on_input", "an .IA.3"),
        ("lora_unet_x.diff", "whole differences"),
        ("unet.down_blocks.9.lora_A.weight", r"for another model: it changes unet\.down_blocks\.9, which"),
        ("unet.conv_in.lora_A.weight", r"another model: its unet\.conv_in takes 2 numbers, this model's 36"),
    ],
)
def test_what_is_no_lora_of_this_model_is_named_and_changes_nothing(backbone, name, told):
    plain = ours(backbone)
    with pytest.raises(ComponentError, match=rf"the LoRA from memory does not fit the model: .*{told}") as error:
        backbone.load_lora_weights({name: torch.ones(2, 2)})
    assert "\n" not in str(error.value) and differences(ours(backbone), plain) == [0.0, 0.0]


def test_a_lora_of_another_model_is_one_sentence_and_keeps_those_that_are_on(folders, backbone, pipe, tmp_path):
    good = save_diffusers(tmp_path / "good.safetensors", changes(pipe))
    backbone.load_lora_weights(good, "good")
    before = ours(backbone)
    bad = save_kohya(tmp_path / "bad.safetensors", changes(DiffusionPipeline.from_pretrained(folders["sd21"])))
    nan = {name: tensor * float("nan") for name, tensor in load_file(good).items()}
    save_file(nan, tmp_path / "nan.safetensors")
    for source, told in (
        (bad, "made for another model"),
        (tmp_path / "nan.safetensors", "is not finite"),
        (tmp_path / "gone.safetensors", "no such file or folder"),
        (tmp_path, "it holds bad.safetensors, good.safetensors, nan.safetensors; name one"),
    ):
        with pytest.raises(ComponentError, match=rf"the LoRA {source} does not fit the model: .*{told}") as error:
            backbone.load_lora_weights(source)
        assert "\n" not in str(error.value)
    assert backbone.get_active_adapters() == ["good"] and differences(ours(backbone), before) == [0.0, 0.0]
    with pytest.raises(ComponentError, match="name 'good' is taken"):
        backbone.load_lora_weights(good, "good")


def test_the_copy_of_a_lifter_and_what_is_saved_stay(folders, pipe, tmp_path):
    model = moved_model(folders["mini"])
    saved = {name: tensor.clone() for name, tensor in model.lifter.state_dict().items()}
    model.backbone.load_lora_weights(save_diffusers(tmp_path / "it.safetensors", changes(pipe)))
    assert all(torch.equal(tensor, saved[name]) for name, tensor in model.lifter.state_dict().items())
    assert saved.keys() == model.lifter.state_dict().keys()


def test_what_the_backbone_trains_itself_stays_on(folders, pipe, tmp_path):
    own = load(folders["mini"], trainable="lora", lora_rank=2)
    with torch.no_grad():
        for name, parameter in own.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    trained, plain = [n for n, p in own.named_parameters() if p.requires_grad], ours(own)
    own.load_lora_weights(save_kohya(tmp_path / "it.safetensors", changes(pipe)), "it")
    assert differences(ours(own), plain)[1] > 1e-2
    for turn_off in (lambda: own.set_adapters("it", 0.0), lambda: own.set_adapters([]), own.unload_lora_weights):
        turn_off()
        assert differences(ours(own), plain) == [0.0, 0.0]
        assert [name for name, parameter in own.named_parameters() if parameter.requires_grad] == trained


def test_the_pipeline_at_k_0_is_diffusers_own_with_the_same_lora(folders, pipe, tmp_path):
    file = save_kohya(tmp_path / "it.safetensors", changes(pipe))
    mine = TuneMV3DPipeline.from_model(moved_model(folders["mini"]), SPEC)
    mine.set_progress_bar_config(disable=True)
    mine.scheduler = DDIMScheduler.from_config(mine.scheduler.config)
    own, pipe.scheduler = pipe.scheduler, DDIMScheduler.from_config(mine.scheduler.config)
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    mine.load_lora_weights(file, adapter_name="it")
    mine.set_adapters(["it"], [0.7])
    pipe.load_lora_weights(str(file), adapter_name="it")
    pipe.set_adapters("it", 0.7)
    given = {"num_inference_steps": 3, "guidance_scale": 4.0}
    result = mine("a red chair", Cameras.orbit(2), consistency=0.0, latents=noise[None], output_type="latent", **given)
    wanted = pipe(["a red chair"] * 2, latents=noise, output_type="latent", height=32, width=32, **given).images
    got = result.latents[0]
    pipe.scheduler = own
    assert float((got - wanted).abs().max()) == 0.0
    assert mine.get_active_adapters() == ["it"]


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("style.safetensors", ("style.safetensors", 1.0)),
        ("style.safetensors:0.8", ("style.safetensors", 0.8)),
        ("style.safetensors:-1", ("style.safetensors", -1.0)),
        (r"C:\loras\style.safetensors", (r"C:\loras\style.safetensors", 1.0)),
        (r"C:\loras\style.safetensors:.5", (r"C:\loras\style.safetensors", 0.5)),
        ("C:/style.safetensors", ("C:/style.safetensors", 1.0)),
        ("owner/name:2", ("owner/name", 2.0)),
    ],
)
def test_a_lora_and_its_weight_in_one_word(text, pair):
    assert parse_lora(text) == pair


def test_a_file_with_a_colon_is_the_file_and_wrong_weights_are_refused(tmp_path):
    (tmp_path / "a:1").write_bytes(b"")
    assert parse_lora(str(tmp_path / "a:1")) == (str(tmp_path / "a:1"), 1.0)
    for text in ("a.safetensors:x", "a.safetensors:nan", "a.safetensors:inf", ":1", "a.safetensors:"):
        with pytest.raises(TuneMV3DError, match="is no weight"):
            parse_lora(text)


def test_a_command_adds_what_it_is_given_and_tells_it(folders, pipe, tmp_path):
    model = moved_model(folders["mini"])
    file = save_diffusers(tmp_path / "it.safetensors", changes(pipe))
    added = Additions.of("", [f"{file}:0.5", str(file)], [str(embedding(tmp_path / "t.safetensors", "<toy>", 1))])
    added.apply(model)
    assert model.backbone.get_active_adapters() == ["lora-0", "lora-1"]
    assert added.as_json() == {"loras": [f"{file}:0.5", str(file)], "embeddings": [str(tmp_path / "t.safetensors")]}
    pipe.load_lora_weights(str(file), adapter_name="it")
    pipe.set_adapters("it", 1.5)
    torch.testing.assert_close(ours(model.backbone)[1], theirs(pipe)[1], rtol=1e-4, atol=1e-4)
