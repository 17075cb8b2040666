"""Stable Diffusion pipelines in the published layouts with only the widths reduced, random weights, real files."""

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

CROSS, PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"
UP_CROSS, UP_PLAIN = "CrossAttnUpBlock2D", "UpBlock2D"
SCHEDULE = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}

# The unet configs of stable-diffusion-v1-5, stable-diffusion-2-1 and stable-diffusion-xl-base-1.0, only widths and
# numbers of heads reduced, and a three-level one.
UNETS: dict[str, dict[str, Any]] = {
    "sd15": {
        "down_block_types": (CROSS, CROSS, CROSS, PLAIN),
        "up_block_types": (UP_PLAIN, UP_CROSS, UP_CROSS, UP_CROSS),
        "block_out_channels": (32, 64, 64, 64),
        "attention_head_dim": 8,
    },
    "sd21": {
        "down_block_types": (CROSS, CROSS, CROSS, PLAIN),
        "up_block_types": (UP_PLAIN, UP_CROSS, UP_CROSS, UP_CROSS),
        "block_out_channels": (32, 64, 64, 64),
        "attention_head_dim": [2, 4, 4, 4],
        "cross_attention_dim": 48,
        "use_linear_projection": True,
        "upcast_attention": True,
    },
    "sdxl": {
        "down_block_types": (PLAIN, CROSS, CROSS),
        "up_block_types": (UP_CROSS, UP_CROSS, UP_PLAIN),
        "block_out_channels": (32, 64, 64),
        "attention_head_dim": [2, 4, 4],
        "cross_attention_dim": 32 + 48,
        "transformer_layers_per_block": [1, 2, 10],
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 48 + 6 * 8,
    },
    "mini": {
        "down_block_types": (PLAIN, CROSS, CROSS),
        "up_block_types": (UP_CROSS, UP_CROSS, UP_PLAIN),
        "block_out_channels": (32, 32, 64),
        "attention_head_dim": 8,
        "layers_per_block": 1,
    },
}

SD15_UNET: dict[str, Any] = {
    **UNETS["sd15"],
    "block_out_channels": (320, 640, 1280, 1280),
    "cross_attention_dim": 768,
    "sample_size": 64,
}
"""The published one of stable-diffusion-v1-5: 859,520,964 parameters."""

SCHEDULERS: dict[str, Any] = {
    "sd15": lambda: PNDMScheduler(**SCHEDULE, skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1),
    "sd21": lambda: DDIMScheduler(
        **SCHEDULE, prediction_type="v_prediction", clip_sample=False, set_alpha_to_one=False, steps_offset=1
    ),
    "sdxl": lambda: EulerDiscreteScheduler(**SCHEDULE, timestep_spacing="leading", steps_offset=1),
    "mini": lambda: DDPMScheduler(**SCHEDULE, clip_sample=False),
}


def tokenizer(length: int = 16, pad: str = "<|endoftext|>") -> CLIPTokenizer:
    """A byte-pair encoding of CLIP's kind that knows the letters, "chair" and "red"."""
    letters = "abcdefghijklmnopqrstuvwxyz!"
    merges = [("c", "h"), ("ch", "a"), ("cha", "i"), ("chai", "r</w>"), ("r", "e"), ("re", "d</w>")]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{x}</w>" for x in letters), *map("".join, merges)]
    vocab = {word: i for i, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=length, pad_token=pad)


def text_config(words: CLIPTokenizer, width: int, act: str) -> CLIPTextConfig:
    """Of a two-layer text encoder."""
    return CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=width,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16,
        hidden_act=act,
        projection_dim=width,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        dtype="float32",
    )


def vae(kind: str) -> AutoencoderKL:
    """A small autoencoder of four latent channels, one latent cell for 4 x 4 pixels."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 16, 16),
        norm_num_groups=8,
        latent_channels=4,
        sample_size=32,
        scaling_factor=0.13025 if kind == "sdxl" else 0.18215,
    )


def pipeline(kind: str, **unet_options: Any) -> StableDiffusionPipeline | StableDiffusionXLPipeline:
    """A random pipeline of one of ``UNETS``' kinds, every weight away from its trivial start."""
    torch.manual_seed(0)
    options = {"sample_size": 8, "cross_attention_dim": 32, "norm_num_groups": 8, **UNETS[kind], **unet_options}
    shared: dict[str, Any] = {
        "vae": vae(kind),
        "unet": UNet2DConditionModel(**options),
        "scheduler": SCHEDULERS[kind](),
    }
    pipe = xl_pipeline(shared) if kind == "sdxl" else sd_pipeline(kind, shared)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def sd_pipeline(kind: str, shared: dict[str, Any]) -> StableDiffusionPipeline:
    """Text as in 1.x, or as in 2.x: wider, another activation, padded with "!"."""
    second = kind == "sd21"
    words = tokenizer(pad="!") if second else tokenizer()
    return StableDiffusionPipeline(
        **shared,
        tokenizer=words,
        text_encoder=CLIPTextModel(text_config(words, 48 if second else 32, "gelu" if second else "quick_gelu")),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def xl_pipeline(shared: dict[str, Any]) -> StableDiffusionXLPipeline:
    """Both text encoders of SDXL."""
    words, other_words = tokenizer(), tokenizer(pad="!")
    return StableDiffusionXLPipeline(
        **shared,
        tokenizer=words,
        tokenizer_2=other_words,
        text_encoder=CLIPTextModel(text_config(words, 32, "quick_gelu")),
        text_encoder_2=CLIPTextModelWithProjection(text_config(other_words, 48, "gelu")),
        add_watermarker=False,
    )


def save(folder: Path, kind: str, **unet_options: Any) -> Path:
    """Write such a pipeline to ``folder``."""
    pipeline(kind, **unet_options).save_pretrained(folder)
    return folder
