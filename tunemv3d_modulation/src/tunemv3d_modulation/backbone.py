"""The backbone ``diffusers``: a frozen Stable Diffusion (1.x, 2.x, XL), split into its encoder and its decoder."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tunemv3d_core.errors import ComponentError
from tunemv3d_core.ports import BackbonePorts, BuildContext, Neighbours
from tunemv3d_core.types import Skips, Text
from tunemv3d_modulation import unet as halves
from tunemv3d_modulation.adapters.loader import Adapters
from tunemv3d_modulation.adapters.mixin import AdaptersMixin
from tunemv3d_modulation.loading import Parts, load_parts
from tunemv3d_modulation.lora import add_adapters, is_adapter, without_adapters
from tunemv3d_modulation.schedule import Schedule, make_scheduler
from tunemv3d_modulation.spec import DiffusersSpec
from tunemv3d_modulation.text import PromptEncoder

IMAGES_AT_ONCE = 4
"""Images of 512 x 512 that pass the VAE together, fewer of larger ones; bounds its memory, which exceeds the UNet's. On
a CPU eight are a third slower."""

TILED_FROM = 1536 * 1536
"""Pixels of an image from which on the VAE works in overlapping tiles, whose seams are blended."""


def build(spec: DiffusersSpec, neighbours: Neighbours | None, context: BuildContext) -> "DiffusersBackbone":
    """Build the backbone that ``spec`` names; it comes first and has no neighbours."""
    parts = load_parts(spec, context.dtype, context.weights)
    backbone = DiffusersBackbone(parts, spec.trainable, spec.lora_rank).to(context.device)
    if spec.gradient_checkpointing:
        backbone.unet.enable_gradient_checkpointing(halves.recompute(backbone.unet))
    return backbone


class DiffusersBackbone(AdaptersMixin, nn.Module):
    """The 2D model of a StableDiffusionPipeline or StableDiffusionXLPipeline (``tunemv3d_core.slots.Backbone``).

    Args:
        parts: as ``load_parts`` read them.
        trainable: "none", "lora" (low-rank changes of the UNet's attention) or "all" (the UNet). Text encoders and VAE
            are frozen always.
        lora_rank: of those changes.

    Raises:
        ComponentError: parts that do not fit together, or a UNet of another layout.
    """

    def __init__(self, parts: Parts, trainable: str = "none", lora_rank: int = 1) -> None:
        super().__init__()
        halves.check_supported(parts.unet.config, parts.source)
        self.prompts = PromptEncoder(parts.tokenizers, parts.text_encoders, parts.zero_empty)
        self.ports = _ports(parts, self.prompts)
        self.scheduler_config: dict[str, Any] = parts.scheduler
        self.vae = parts.vae
        self.unet = parts.unet
        self.schedule = Schedule(parts.scheduler)
        self.trainable = trainable != "none"
        self._fingerprint = parts.fingerprint
        self.kind, self.lora_trained = parts.kind, trainable == "lora"
        self.adapters = Adapters(self)
        self._caption_words = parts.caption_words
        self.requires_grad_(False)
        if trainable == "lora":
            add_adapters(self.unet, lora_rank)
        for name, parameter in self.unet.named_parameters():
            parameter.requires_grad_(trainable == "all" or (trainable == "lora" and is_adapter(name)))
        self.train(False)

    def train(self, mode: bool = True) -> "DiffusersBackbone":
        """Set the mode of what is trainable; frozen parts stay in evaluation mode."""
        super().train(False)
        self.unet.train(mode and self.trainable)
        return self

    def encode_text(self, prompts: list[str]) -> Text:
        """Encode prompts; longer ones than the encoder takes are cut, with one warning."""
        text: Text = self.prompts(prompts)
        return text

    def encode_text_skipping(self, prompts: list[str], layers: int) -> Text:
        """Encode prompts without the last layers of the text encoders, as diffusers' ``clip_skip`` does.

        Raises:
            TuneMV3DError: the encoders have not so many.
        """
        text: Text = self.prompts(prompts, layers)
        return text

    def cut_prompts(self, prompts: Sequence[str]) -> list[str]:
        """Return a sentence for each prompt that is cut (``tunemv3d_core.slots.ReportsCutPrompts``)."""
        return self.prompts.cut_prompts(prompts)

    def caption_words(self) -> Mapping[str, int] | None:
        """Return the words that the model's folder says it knows (``tunemv3d_core.slots.KnowsCaptionWords``)."""
        return self._caption_words

    def offloadable(self) -> tuple[nn.Module, nn.Module]:
        """Return the text encoders and the VAE (``tunemv3d_core.slots.Offloadable``)."""
        return self.prompts, self.vae

    compiled_methods = ("encode", "decode")

    def repeated_blocks(self) -> list[nn.Module]:
        """Return the UNet's blocks (``tunemv3d_core.slots.Compiles``)."""
        return halves.repeated_blocks(self.unet)

    def cast_weights(self, dtype: torch.dtype) -> None:
        """Cast the frozen weights of the UNet's layers and convolutions (``tunemv3d_core.slots.CastsWeights``)."""
        halves.cast_frozen(self.unet, dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.vae.config.force_upcast and self.vae.dtype == torch.float16:
            # Such a VAE overflows in half precision.
            self.vae.to(torch.float32)
        return self

    @torch.no_grad()
    def encode_images(self, images: Tensor) -> Tensor:
        """Encode ``b n 3 H W`` in [-1, 1] to latents ``b n c h w``: the posterior's mean, shifted and scaled."""
        shift, scale = self._latent_scale()
        chunks = self._in_chunks(images.flatten(0, 1).to(self.vae.dtype), images.shape[-2] * images.shape[-1])
        means = torch.cat([self.vae.encode(chunk).latent_dist.mode() for chunk in chunks])
        latents: Tensor = ((means - shift) * scale).to(next(self.prompts.parameters()).dtype)
        return latents.reshape(*images.shape[:2], *latents.shape[1:])

    def decode_latents(self, latents: Tensor) -> Tensor:
        """Decode ``b n c h w`` to images ``b n 3 H W``, about [-1, 1]."""
        shift, scale = self._latent_scale()
        pixels = latents.shape[-2] * latents.shape[-1] * self.ports.image_stride**2
        chunks = self._in_chunks(latents.flatten(0, 1).to(self.vae.dtype) / scale + shift, pixels)
        images = torch.cat([self.vae.decode(chunk).sample for chunk in chunks])
        return images.reshape(*latents.shape[:2], *images.shape[1:])

    def _in_chunks(self, images: Tensor, pixels: int) -> tuple[Tensor, ...]:
        """Split images or latents by what passes the VAE at once; large ones are tiled from now on."""
        if pixels >= TILED_FROM:
            self.vae.enable_tiling()
        return torch.split(images, min(IMAGES_AT_ONCE, max(1, IMAGES_AT_ONCE * 512 * 512 // pixels)))

    def _latent_scale(self) -> tuple[float, float]:
        return self.vae.config.get("shift_factor") or 0.0, self.vae.config.scaling_factor

    def add_noise(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return x_t of clean latents ``b n c h w`` at t ``b n``."""
        return self.schedule.add_noise(latents, noise, t)

    def target(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return the training target, what the model should predict, ``b n c h w``."""
        return self.schedule.target(latents, noise, t)

    def predict_x0(self, prediction: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Return the clean latents that a prediction at x_t stands for, ``b n c h w``."""
        return self.schedule.predict_x0(prediction, x_t, t)

    def alphas_cumprod(self, t: Tensor) -> Tensor:
        """Return the cumulative product of the schedule's alphas at t, of t's shape; linear between whole steps."""
        return self.schedule.alphas_cumprod(t)

    def encode(self, x_t: Tensor, t: Tensor, text: Text) -> Skips:
        """Run the encoder of the frozen model: ``b n c h w`` at t ``b n`` to the L skips.

        No graph is kept while nothing before the decoder is trainable and no input asks for a gradient.
        """
        wanted = self.trainable or x_t.requires_grad or text.tokens.requires_grad
        with torch.set_grad_enabled(torch.is_grad_enabled() and wanted):
            x, text = x_t.flatten(0, 1), text.per_view(x_t.shape[1])
            emb = halves.embed(self.unet, x, t.flatten(), text, self.ports.image_stride)
            return Skips(halves.encode(self.unet, x, emb, text.tokens), state=emb)

    def decode(self, skips: Skips, residuals: tuple[Tensor, ...] | None, t: Tensor, text: Text) -> Tensor:
        """Run the decoder with L residuals added to the skips: the prediction ``b n c h w``."""
        maps = skips.maps
        if residuals is not None:
            maps = tuple(skip + residual.to(skip.dtype) for skip, residual in zip(maps, residuals, strict=True))
        flat = halves.decode(self.unet, maps, skips.state, text.per_view(t.shape[1]).tokens)
        return flat.reshape(*t.shape, *flat.shape[1:])

    def forward(self, x_t: Tensor, t: Tensor, text: Text) -> Tensor:
        """Run the UNet's own forward, unsplit, which ``encode`` and ``decode`` with None equal bit for bit."""
        flat, views = x_t.flatten(0, 1), text.per_view(x_t.shape[1])
        xl = {"text_embeds": views.pooled, "time_ids": halves.image_sizes(flat, self.ports.image_stride)}
        added = None if views.pooled is None else xl
        prediction: Tensor = self.unet(flat, t.flatten(), views.tokens, added_cond_kwargs=added).sample
        return prediction.reshape(x_t.shape)

    def scheduler(self, name: str = "") -> Any:
        """Make a diffusers scheduler on the model's own configuration.

        Args:
            name: one of ``schedule.SCHEDULERS``, the class of a diffusers scheduler, or "" for the model's own kind.

        Raises:
            ComponentError: an unknown name, or a scheduler that cannot sample this model.
        """
        return make_scheduler(self.scheduler_config, name)

    def fingerprint(self) -> dict[str, str]:
        """Return the files of weights that were read, LoRA files among them, and their sha256 at that time."""
        return dict(self._fingerprint)

    def latent_key(self) -> str:
        """Hash the VAE's weights, as precise as they were loaded, and the latents' shift and scale: a sha256."""
        digest = hashlib.sha256(repr(self._latent_scale()).encode())
        for name, weight in sorted(self.vae.state_dict().items()):
            digest.update(name.encode())
            digest.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def copy_encoder(self, share: bool = False) -> halves.EncoderCopy:
        """Copy the encoder for a lifter to train (paper B.1); with ``share`` the copy holds the same weights."""
        return without_adapters(halves.EncoderCopy(self.unet, self.ports.image_stride, share))


def _ports(parts: Parts, prompts: PromptEncoder) -> BackbonePorts:
    """Return the ports that the loaded parts offer to their neighbours.

    Raises:
        ComponentError: text encoder, VAE and UNet of different models.
    """
    unet, vae = parts.unet.config, parts.vae.config
    if unet.cross_attention_dim != prompts.channels:
        raise ComponentError(
            f"{parts.source}: the UNet attends to {unet.cross_attention_dim} text channels, "
            f"but the text encoder gives {prompts.channels}"
        )
    if len(set(prompts.lengths)) > 1:
        raise ComponentError(f"{parts.source}: the text encoders take different numbers of tokens: {prompts.lengths}")
    if (unet.addition_embed_type is None) != (prompts.pooled_channels is None):
        raise ComponentError(
            f"{parts.source}: a UNet with addition_embed_type = {unet.addition_embed_type!r} does not go with "
            f"{len(prompts.lengths)} text encoders"
        )
    if prompts.pooled_channels is not None:
        _check_sizes(parts, prompts.pooled_channels)
    if unet.in_channels != vae.latent_channels:
        raise ComponentError(
            f"{parts.source}: the UNet denoises {unet.in_channels} latent channels, "
            f"but the VAE gives {vae.latent_channels}"
        )
    if vae.scaling_factor is None:
        raise ComponentError(f"{parts.source}: the VAE's config has no scaling_factor")
    if vae.get("latents_mean") is not None or vae.get("latents_std") is not None:
        raise ComponentError(f"{parts.source}: the VAE scales each latent channel by itself, which is not supported")
    stride = int(2 ** (len(vae.block_out_channels) - 1))
    sizes = unet.sample_size or vae.sample_size // stride
    return BackbonePorts(
        latent_channels=unet.in_channels,
        latent_size=sizes if isinstance(sizes, int) else sizes[0],
        image_stride=stride,
        text_channels=unet.cross_attention_dim,
        residuals=halves.residual_ports(parts.unet),
        prediction=str(parts.scheduler.get("prediction_type", "epsilon")),
        train_timesteps=int(parts.scheduler.get("num_train_timesteps", 1000)),
        pooled_channels=prompts.pooled_channels,
    )


def _check_sizes(parts: Parts, pooled: int) -> None:
    """Refuse a UNet whose embedding takes another input than XL's: pooled text and six numbers on the image's size.

    Raises:
        ComponentError: it takes something else, as the refiner with its five numbers.
    """
    unet = parts.unet.config
    wanted = unet.projection_class_embeddings_input_dim
    given = pooled + halves.SIZE_NUMBERS * unet.addition_time_embed_dim
    if wanted != given:
        raise ComponentError(
            f"{parts.source}: the UNet takes {wanted} channels of pooled text and image size, not {given}: it is no XL "
            "base model (the refiner takes other numbers)"
        )
