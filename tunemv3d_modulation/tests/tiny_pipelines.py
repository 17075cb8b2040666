"""Stable Diffusion pipelines in the published layouts with only the widths reduced, random weights, real files."""

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

CROSS, PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"
UP_CROSS, UP_PLAIN = "CrossAttnUpBlock2D", "UpBlock2D"
SCHEDULE = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}

# The unet configs of stable-diffusion-v1-5 and stable-diffusion-2-1, widths and heads reduced, and a three-level one.
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
        "use_linear_projection": True,
        "upcast_attention": True,
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
    "mini": lambda: DDPMScheduler(**SCHEDULE, clip_sample=False),
}


def tokenizer(length: int = 16) -> CLIPTokenizer:
    """A byte-pair encoding of CLIP's kind that knows the letters, "chair" and "red"."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    merges = [("c", "h"), ("ch", "a"), ("cha", "i"), ("chai", "r</w>"), ("r", "e"), ("re", "d</w>")]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{x}</w>" for x in letters), *map("".join, merges)]
    return CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=merges, model_max_length=length)


def pipeline(kind: str, **unet_options: Any) -> StableDiffusionPipeline:
    """A random pipeline of one of ``UNETS``' kinds, every weight away from its trivial start."""
    torch.manual_seed(0)
    words = tokenizer()
    text = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        dtype="float32",
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 16, 16),
        norm_num_groups=8,
        latent_channels=4,
        sample_size=32,
        scaling_factor=0.18215,
    )
    options = {"sample_size": 8, "cross_attention_dim": 32, "norm_num_groups": 8, **UNETS[kind], **unet_options}
    pipe = StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(text),
        tokenizer=words,
        unet=UNet2DConditionModel(**options),
        scheduler=SCHEDULERS[kind](),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def save(folder: Path, kind: str, **unet_options: Any) -> Path:
    """Write such a pipeline to ``folder``."""
    pipeline(kind, **unet_options).save_pretrained(folder)
    return folder
