"""A Stable Diffusion 1.5 pipeline in its published sizes with random weights, as a real folder."""

from pathlib import Path

import tiny_pipelines
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 512,
}
TEXT_ENCODER = {
    "vocab_size": 49408,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 77,
    "projection_dim": 768,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}


def save_pipeline(folder: Path) -> None:
    """Write a pipeline of random weights in half precision to ``folder``, 2 GiB; the tokenizer alone is small."""
    torch.manual_seed(0)
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float16)
    try:
        pipe = StableDiffusionPipeline(
            vae=AutoencoderKL(**VAE),
            text_encoder=CLIPTextModel(CLIPTextConfig(**TEXT_ENCODER)),
            tokenizer=tiny_pipelines.tokenizer(77),
            unet=UNet2DConditionModel(**tiny_pipelines.SD15_UNET),
            scheduler=tiny_pipelines.SCHEDULERS["sd15"](),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    finally:
        torch.set_default_dtype(usual)
    pipe.save_pretrained(folder)
