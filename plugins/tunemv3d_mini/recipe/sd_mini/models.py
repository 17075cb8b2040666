"""The three networks and the schedule, at the shipped size and at a size for trying the recipe out."""

from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer


@dataclass(frozen=True)
class Size:
    """Everything that sets the pipeline's size and the work of training it.

    Attributes:
        image: pixels a side.
        vae, unet: channels at each resolution.
        groups: groups of every group norm; divides all channels.
        heads: attention heads of the UNet.
        text: width of the text encoder.
        text_layers: its layers.
        vocabulary: tokens at most.
        length: tokens of a text.
        vae_batch, unet_batch: pictures a step.
        vae_steps, unet_steps: steps where no time is given.
        warmup: steps until the highest learning rate, of both stages.
    """

    image: int = 128
    vae: tuple[int, int, int] = (64, 96, 144)
    unet: tuple[int, int, int] = (96, 128, 128)
    groups: int = 16
    heads: int = 4
    text: int = 192
    text_layers: int = 3
    vocabulary: int = 1536
    length: int = 24
    vae_batch: int = 32
    unet_batch: int = 256
    vae_steps: int = 6000
    unet_steps: int = 8000
    warmup: int = 200


SIZES = {
    "mini": Size(),
    "tiny": Size(
        **{"image": 32, "vae": (8, 16, 16), "unet": (16, 16, 32), "groups": 4, "heads": 2, "text": 16},
        **{"text_layers": 1, "vocabulary": 560, "length": 16, "vae_batch": 4, "unet_batch": 8},
        **{"vae_steps": 60, "unet_steps": 60, "warmup": 10},
    ),
}


def make_vae(size: Size) -> AutoencoderKL:
    """Build the autoencoder: four latent channels at a quarter of the picture's sides.

    It has no attention, which white pictures do not need.
    """
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=size.vae,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=size.groups,
        sample_size=size.image,
        scaling_factor=1.0,
        mid_block_add_attention=False,
        force_upcast=False,
    )


def make_unet(size: Size) -> UNet2DConditionModel:
    """Build the UNet: cross-attention at a half and a quarter of the latent's sides."""
    return UNet2DConditionModel(
        sample_size=size.image // 4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=size.unet,
        layers_per_block=1,
        norm_num_groups=size.groups,
        attention_head_dim=size.heads,
        cross_attention_dim=size.text,
    )


def make_text_encoder(size: Size, tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Build CLIP's text transformer."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.text,
        intermediate_size=4 * size.text,
        projection_dim=size.text,
        num_hidden_layers=size.text_layers,
        num_attention_heads=max(1, size.text // 32),
        max_position_embeddings=size.length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def make_scheduler() -> DDIMScheduler:
    """Build Stable Diffusion's schedule; sampling starts at the last timestep."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="trailing",
    )


class TextToImage(nn.Module):
    """Text encoder and UNet, which the second stage trains. ``forward`` predicts the noise."""

    def __init__(self, text_encoder: CLIPTextModel, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.text_encoder = text_encoder
        self.unet = unet

    def forward(self, x_t: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
        """Predict the noise in ``x_t`` (``n 4 h w``) at timesteps ``t`` (``n``) for ``tokens`` (``n length``)."""
        states = self.text_encoder(input_ids=tokens).last_hidden_state
        prediction: Tensor = self.unet(x_t.to(self.unet.dtype), t, encoder_hidden_states=states).sample
        return prediction.float()


def round_to_half(module: nn.Module) -> nn.Module:
    """Round all weights to float16's values, kept as float32: what is measured is then what is stored."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(parameter.half().float())
    return module
