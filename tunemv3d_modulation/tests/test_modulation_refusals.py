"""Pipelines that this backbone must not take, each refused in one message before any work."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from tiny_pipelines import pipeline, vae
from toy_model import load

from tunemv3d_core.errors import ComponentError


@pytest.fixture
def spoilt(folders, tmp_path):
    """Copies a pipeline's folder, merges changes into one of its JSON files, and gives the copy."""

    def go(kind: str, file: str, **changes: Any) -> Path:
        folder = Path(shutil.copytree(folders[kind], tmp_path / kind, dirs_exist_ok=True))
        content = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps({**content, **changes}))
        return folder

    return go


def refused(folder: Path, told: str) -> None:
    with pytest.raises(ComponentError, match=told) as error:
        load(folder)
    assert "\n" not in str(error.value) and str(folder) in str(error.value)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "text_encoder_2"])
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda w, name: w.pop(name), "1 weights are missing, such as"),
        (lambda w, name: w.update(more=torch.zeros(2)), "1 weights have no place in its config's model, such as more"),
        (lambda w, name: w.update({name: torch.zeros(3, 3)}), r"shape.*3, 3\]"),
    ],
)
def test_weights_of_another_architecture_than_the_config_says(folders, tmp_path, part, change, told):
    folder = Path(shutil.copytree(folders["sdxl"], tmp_path / "other"))
    (file,) = (folder / part).glob("*.safetensors")
    weights = load_file(file)
    name = next(name for name in weights if "norm" in name)
    change(weights, name)
    save_file(weights, file, {"format": "pt"})
    refused(folder, f"cannot read {folder}/{part}: .*{told}")


def test_a_config_of_another_architecture_than_the_weights(spoilt):
    refused(spoilt("sd15", "unet/config.json", layers_per_block=1), r"sd15/unet: .*resnets.* expected shape")
    refused(spoilt("sd21", "unet/config.json", cross_attention_dim=32), r"sd21/unet: .*shape")


def test_a_missing_text_encoder(spoilt, folders):
    refused(spoilt("sdxl", "model_index.json", text_encoder=[None, None]), "it lacks text_encoder")
    folder = spoilt("sd15", "model_index.json")
    shutil.rmtree(folder / "text_encoder")
    refused(folder, "sd15 is no whole StableDiffusionPipeline: it lacks text_encoder")


def test_pipelines_of_other_kinds(spoilt):
    refused(
        spoilt("sdxl", "model_index.json", _class_name="StableDiffusionXLImg2ImgPipeline"),
        "is a StableDiffusionXLImg2ImgPipeline; this backbone takes StableDiffusionPipeline and StableDiffusionXL",
    )
    refused(
        spoilt("sd15", "model_index.json", _class_name=["pipeline_mvdream", "MVDreamPipeline"]),
        "is a MVDreamPipeline; this backbone takes StableDiffusionPipeline and StableDiffusionXLPipeline",
    )
    index = {"text_encoder": ["transformers", "T5EncoderModel"]}
    refused(spoilt("sd15", "model_index.json", **index), "its text_encoder is a T5EncoderModel .needed: CLIPTextModel")


@pytest.mark.slow
def test_a_refiner_under_the_base_models_name(tmp_path):
    """It is told five numbers on the image where the base model is told six."""
    pipeline("sdxl", projection_class_embeddings_input_dim=48 + 5 * 8).save_pretrained(tmp_path)
    refused(tmp_path, "takes 88 channels of pooled text and image size, not 96: it is no XL base model")


def test_an_xl_unet_with_one_text_encoder_and_the_other_way_round(tmp_path):
    xl = {"addition_embed_type": "text_time", "addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 96}
    pipeline("mini", **xl).save_pretrained(tmp_path / "one")
    refused(tmp_path / "one", "addition_embed_type = 'text_time' does not go with 1 text encoders")
    pipeline("sdxl", addition_embed_type=None).save_pretrained(tmp_path / "two")
    refused(tmp_path / "two", "addition_embed_type = None does not go with 2 text encoders")


@pytest.mark.slow
def test_vaes_that_do_not_fit(folders, tmp_path, spoilt):
    folder = Path(shutil.copytree(folders["sd15"], tmp_path / "eight"))
    AutoencoderKL(**{**vae("sd15").config, "latent_channels": 8}).save_pretrained(folder / "vae")
    refused(folder, "the UNet denoises 4 latent channels, but the VAE gives 8")
    refused(spoilt("sdxl", "vae/config.json", latents_mean=[0.0] * 4), "the VAE scales each latent channel by itself")


SCHEDULER = "scheduler/scheduler_config.json"


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (
            "FlowMatchEulerDiscreteScheduler",
            "FlowMatchEulerDiscreteScheduler cannot sample .*: its noise schedule is another",
        ),
        ("EulerDiscretScheduler", r"no scheduler 'EulerDiscretScheduler'\. Did you mean 'EulerDiscreteScheduler'\?"),
        ("EDMEulerScheduler", "noise schedule is another one than the model was trained on"),
        ("DDIMInverseScheduler", "it goes from clean to noisy"),
        ("RePaintScheduler", "cannot sample .*original_image"),
    ],
)
def test_schedulers_of_other_processes(spoilt, kind, told):
    refused(spoilt("sd15", "model_index.json", scheduler=["diffusers", kind]), told)


def test_scheduler_configs_that_cannot_be_used(spoilt):
    refused(
        spoilt("sd15", SCHEDULER, prediction_type="flow_prediction"),
        "is 'flow_prediction'; this backbone takes epsilon, v_pred",
    )
    refused(spoilt("sd15", SCHEDULER, prediction_type="sample"), "PNDMScheduler cannot sample .* predicts 'sample'")
    refused(spoilt("sd15", SCHEDULER, beta_schedule="steep"), "PNDMScheduler has no readable noise schedule: .*steep")


def test_the_index_says_of_which_class_the_scheduler_is_as_in_diffusers(spoilt):
    backbone = load(spoilt("sd15", "model_index.json", scheduler=["diffusers", "DDIMScheduler"]))
    assert type(backbone.scheduler()).__name__ == "DDIMScheduler"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("eular", "Did you mean 'euler'"),
        ("HeunDiscretScheduler", "Did you mean 'HeunDiscreteScheduler'"),
        ("FlowMatchHeunDiscreteScheduler", "cannot sample a model that predicts 'epsilon'"),
        ("DPMSolverMultistepInverseScheduler", "goes from clean to noisy"),
    ],
)
def test_schedulers_by_names_that_are_unknown_or_do_not_work(folders, name, told):
    with pytest.raises(ComponentError, match=told):
        load(folders["mini"]).scheduler(name)


def test_schedulers_that_do_not_take_the_models_prediction(spoilt):
    folder = spoilt("mini", SCHEDULER, prediction_type="sample")
    assert load(folder).scheduler("ddim")
    with pytest.raises(ComponentError, match=r"PNDMScheduler cannot sample a model that predicts 'sample'.*epsilon"):
        load(folder).scheduler("PNDMScheduler")
