import hashlib
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from original_layout import save_single_file
from safetensors.torch import load_file, save_file
from tiny_pipelines import pipeline
from toy_model import load, toy_inputs

from tunemv3d_core.errors import ComponentError, TuneMV3DWarning
from tunemv3d_core.ports import BuildContext


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """Single files in the original layout, each in its own folder."""
    root = tmp_path_factory.mktemp("files")
    for kind in ("sd15", "sdxl"):
        (root / kind).mkdir()
    return {kind: save_single_file(root / kind / "model.safetensors", pipeline(kind)) for kind in ("sd15", "sdxl")}


@pytest.fixture(scope="module")
def configs(folders, tmp_path_factory) -> dict[str, str]:
    """The pipelines' folders without any weights."""
    root = tmp_path_factory.mktemp("configs")
    no_weights = shutil.ignore_patterns("*.safetensors")
    return {kind: str(shutil.copytree(folder, root / kind, ignore=no_weights)) for kind, folder in folders.items()}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
@torch.no_grad()
def test_a_single_file_gives_the_model_of_the_folder(files, configs, folders, kind):
    single, whole = load(files[kind], config=configs[kind]), load(folders[kind])
    weights = whole.state_dict()
    assert single.state_dict().keys() == weights.keys()
    assert all(torch.equal(weight, weights[name]) for name, weight in single.state_dict().items())
    inputs, text = toy_inputs(), whole.encode_text(["a red chair", "a stool"])
    again = single.encode_text(["a red chair", "a stool"])
    predictions = [
        b.decode(b.encode(**inputs, text=t), None, inputs["t"], t) for b, t in ((whole, text), (single, again))
    ]
    # Weights that lie elsewhere in memory may round differently.
    torch.testing.assert_close(*predictions, rtol=1e-4, atol=1e-4)
    assert single.ports == whole.ports and single.scheduler_config == whole.scheduler_config


def test_the_fingerprint_is_the_files(files, configs):
    digest = hashlib.sha256(files["sd15"].read_bytes()).hexdigest()
    assert load(files["sd15"], config=configs["sd15"]).fingerprint() == {"model.safetensors": digest}


def test_a_file_in_half_precision_is_used_in_the_precision_asked_for(files, configs, tmp_path):
    half = tmp_path / "half.safetensors"
    save_file({name: weight.half() for name, weight in load_file(files["sd15"]).items()}, half)
    for dtype in (torch.float32, torch.bfloat16):
        backbone = load(half, BuildContext(torch.device("cpu"), dtype), config=configs["sd15"])
        assert {parameter.dtype for parameter in backbone.parameters()} == {dtype}


def test_without_weights_it_has_the_layers_of_its_configs(files, configs):
    shapes = load(files["sd15"], BuildContext(torch.device("meta"), weights=False), config=configs["sd15"])
    whole = load(files["sd15"], config=configs["sd15"])
    assert {name: weight.shape for name, weight in shapes.named_parameters()} == {
        name: weight.shape for name, weight in whole.named_parameters()
    }
    assert all(weight.is_meta for weight in shapes.parameters())


def test_without_a_network_the_option_config_is_asked_for(files):
    with pytest.raises(ComponentError, match=r"model\.safetensors: no configs.*stable-diffusion-v1-5.*option 'config'"):
        load(files["sd15"])


def test_a_config_without_a_single_file_is_refused(folders, configs):
    with pytest.raises(ComponentError, match=r"'config' is for a single file, but .*sd15 is a whole pipeline"):
        load(folders["sd15"], config=configs["sd15"])


def test_pickles_are_refused(tmp_path, configs):
    (tmp_path / "model.ckpt").write_bytes(b"")
    with pytest.raises(ComponentError, match=r"model\.ckpt: a single file must be a \.safetensors file"):
        load(tmp_path / "model.ckpt", config=configs["sd15"])


@pytest.mark.parametrize(
    ("gone", "told"),
    [
        ("model.diffusion_model.out.0.weight", "weights of the UNet or the VAE are missing"),
        ("first_stage_model.quant_conv.weight", "weights of the UNet or the VAE are missing"),
        (
            "cond_stage_model.transformer.text_model.final_layer_norm.weight",
            "1 weights of the text_encoder are missing",
        ),
    ],
)
def test_weights_that_the_file_lacks_are_not_made_up(files, configs, tmp_path, gone, told):
    save_file({k: v for k, v in load_file(files["sd15"]).items() if k != gone}, tmp_path / "less.safetensors")
    with pytest.raises(ComponentError, match=rf"cannot read .*less\.safetensors by the configs in .*sd15: .*{told}"):
        load(tmp_path / "less.safetensors", config=configs["sd15"])


@pytest.mark.parametrize(("kind", "config"), [("sdxl", "sd15"), ("sd15", "sdxl"), ("sd15", "mini"), ("sd15", "sd21")])
def test_a_file_of_another_model_than_the_configs_is_refused(files, configs, kind, config):
    with pytest.raises(ComponentError, match=r"cannot read .*model\.safetensors by the configs in "):
        load(files[kind], config=configs[config])


def test_surplus_layers_are_refused(files, configs, tmp_path):
    weights = load_file(files["sd15"])
    weights["model.diffusion_model.output_blocks.12.0.in_layers.0.weight"] = torch.zeros(32)
    save_file(weights, tmp_path / "more.safetensors")
    with pytest.raises(ComponentError, match="the file's UNet has 685 weights, but its config's 684"):
        load(tmp_path / "more.safetensors", config=configs["sd15"])


V = "modelspec.prediction_type"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "metadata", "last"),
    [
        (["v_pred"], {}, 0.0047),
        ([], {V: "v"}, 0.0047),
        ([], {V: "v_prediction"}, 0.0047),
        (["v_pred", "ztsnr"], {}, 0.0),
        (["ztsnr"], {V: "v"}, 0.0),
    ],
)
def test_what_a_file_says_of_its_model_is_heeded_and_told(files, configs, tmp_path, names, metadata, last):
    """As the published v-predicting XL models mark themselves; the configs are those of the usual XL."""
    weights = load_file(files["sdxl"]) | {name: torch.zeros(0) for name in names}
    save_file(weights, tmp_path / "v.safetensors", metadata)
    with pytest.warns(TuneMV3DWarning, match=r"the file says that prediction_type is 'v_prediction'.*heeded"):
        backbone = load(tmp_path / "v.safetensors", config=configs["sdxl"])
    assert backbone.ports.prediction == "v_prediction"
    assert float(backbone.schedule.table[-1]) == pytest.approx(last, abs=1e-4)
    scheduler = backbone.scheduler("euler")
    assert scheduler.config.prediction_type == "v_prediction"
    assert bool(scheduler.config.rescale_betas_zero_snr) == (last == 0)


def test_a_file_that_agrees_with_its_configs_is_not_told_of(files, configs, tmp_path, recwarn):
    save_file(load_file(files["sdxl"]), tmp_path / "e.safetensors", {V: "epsilon"})
    assert load(tmp_path / "e.safetensors", config=configs["sdxl"]).ports.prediction == "epsilon"
    assert not [told for told in recwarn if told.category is TuneMV3DWarning]


def test_marks_that_cannot_be_heeded_are_refused(files, configs, tmp_path):
    weights = load_file(files["sdxl"])
    save_file(weights, tmp_path / "f.safetensors", {V: "flow"})
    with pytest.raises(ComponentError, match=r"f\.safetensors.*names the prediction type 'flow'; known are epsilon, v"):
        load(tmp_path / "f.safetensors", config=configs["sdxl"])
    save_file(weights | {"ztsnr": torch.zeros(0)}, tmp_path / "z.safetensors")
    with (
        pytest.warns(TuneMV3DWarning),
        pytest.raises(ComponentError, match="predicts 'epsilon', but its schedule ends"),
    ):
        load(tmp_path / "z.safetensors", config=configs["sdxl"])
