"""Backbones for the tests of the kit that fail at what their slot asks. Each docstring says how."""

import copy
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from kit_parts import Backbone
from torch import Tensor, nn

from tunemv3d_core.types import Skips, Text


class AlphaForItsRoot(Backbone):
    """Latents are scaled by alpha, not by its root."""

    def add_noise(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        alpha = self.alphas_cumprod(t)[..., None, None, None]
        return alpha * latents + (1 - alpha) * noise


class TrainsOnNoise(Backbone):
    """Says that it predicts the sample, and is trained on the noise."""

    def target(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return noise


class TakesItForNoise(Backbone):
    """Takes its prediction of the sample for one of the noise."""

    def predict_x0(self, prediction: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        alpha = self.alphas_cumprod(t)[..., None, None, None]
        return (x_t - (1 - alpha).sqrt() * prediction) / alpha.sqrt()


class OneTimeForAll(Backbone):
    """Adds as much noise to every view as to the first."""

    def add_noise(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return super().add_noise(latents, noise, t[:, :1].expand_as(t))


class NoiseForAlphas(Backbone):
    """Gives the share of the noise for that of the latents."""

    def alphas_cumprod(self, t: Tensor) -> Tensor:
        return 1 - super().alphas_cumprod(t)


class PicturesFromZero(Backbone):
    """Takes pictures for 0 to 1, and gives such."""

    def decode_latents(self, latents: Tensor) -> Tensor:
        return super().decode_latents(latents) / 2 + 0.5


class BlueFirst(Backbone):
    """Gives blue, green, red."""

    def decode_latents(self, latents: Tensor) -> Tensor:
        return super().decode_latents(latents).flip(2)


class UpsideDown(Backbone):
    """Gives the last row first."""

    def decode_latents(self, latents: Tensor) -> Tensor:
        return super().decode_latents(latents).flip(-2)


class MirrorsPictures(Backbone):
    """Left is right."""

    def encode_images(self, images: Tensor) -> Tensor:
        return super().encode_images(images.flip(-1))


class ForgetsTheScale(Backbone):
    """Scales latents, and does not undo that."""

    def encode_images(self, images: Tensor) -> Tensor:
        return 0.18215 * super().encode_images(images)


class AttendsToOtherViews(Backbone):
    """Its encoder mixes an object's views."""

    def encode(self, x_t: Tensor, t: Tensor, text: Text) -> Skips:
        return super().encode(x_t + 0.5 * x_t.mean(1, keepdim=True), t, text)


class DecodesTogether(Backbone):
    """Its decoder takes the mean over an object's views off."""

    def decode(self, skips: Skips, residuals: Any, t: Tensor, text: Text) -> Tensor:
        decoded = super().decode(skips, residuals, t, text)
        return decoded - 0.5 * decoded.mean(1, keepdim=True)


class PadsToTheLongest(Backbone):
    """Prompts are as long as the longest beside them."""

    def encode_text(self, prompts: list[str]) -> Text:
        text = super().encode_text(prompts)
        longest = max(1, min(8, max(len(prompt) for prompt in prompts)))
        return replace(text, tokens=text.tokens[:, :longest])


class CentresPrompts(Backbone):
    """Takes off what all prompts have in common."""

    def encode_text(self, prompts: list[str]) -> Text:
        text = super().encode_text(prompts)
        return replace(text, tokens=text.tokens - text.tokens.mean(0, keepdim=True) / 2)


class AddsToTheSkips(Backbone):
    """Adds residuals to the skips themselves."""

    def decode(self, skips: Skips, residuals: Any, t: Tensor, text: Text) -> Tensor:
        for skip, residual in zip(skips.maps, residuals or (), strict=False):
            skip.add_(residual)
        return super().decode(skips, None, t, text)


class HalvesResiduals(Backbone):
    """Adds half of them."""

    def decode(self, skips: Skips, residuals: Any, t: Tensor, text: Text) -> Tensor:
        return super().decode(skips, residuals and tuple(each / 2 for each in residuals), t, text)


class PassesResidualsOn(Backbone):
    """Passes a residual on to the next skip, too."""

    def decode(self, skips: Skips, residuals: Any, t: Tensor, text: Text) -> Tensor:
        if residuals is None:
            return super().decode(skips, None, t, text)
        summed = [skip + residual for skip, residual in zip(skips.maps, residuals, strict=True)]
        summed[2] = summed[2] + F.silu(residuals[1])
        return super().decode(replace(skips, maps=tuple(summed)), None, t, text)


class CopyIsItself(Backbone):
    """The copy of the encoder is the encoder."""

    def copy_encoder(self, share: bool = False) -> nn.Module:
        return self.encoder.requires_grad_(not share)


class CopyIsFrozen(Backbone):
    """The copy of the encoder learns nothing."""

    def copy_encoder(self, share: bool = False) -> nn.Module:
        return super().copy_encoder(share).requires_grad_(False)


class CopyIsNew(Backbone):
    """The copy of the encoder has weights of its own."""

    def copy_encoder(self, share: bool = False) -> nn.Module:
        encoder = super().copy_encoder(share)
        if not share:
            encoder.conv_in.reset_parameters()
        return encoder


class SharesCopies(Backbone):
    """What should be shared is copied."""

    def copy_encoder(self, share: bool = False) -> nn.Module:
        return copy.deepcopy(self.encoder).requires_grad_(not share)


class IgnoresHints(Backbone):
    """The copy takes a hint and leaves it."""

    def copy_encoder(self, share: bool = False) -> nn.Module:
        return Deaf(super().copy_encoder(share))


class Deaf(nn.Module):
    """Calls an encoder without its hint."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor, t: Tensor, text: Text, hint: Tensor | None = None) -> Any:
        return self.encoder(x, t, text)


class TransposesThePrediction(Backbone):
    """Rows are columns."""

    def decode(self, skips: Skips, residuals: Any, t: Tensor, text: Text) -> Tensor:
        decoded = super().decode(skips, residuals, t, text)
        return decoded.mT.flatten(3).unflatten(3, decoded.shape[-2:])


class PrintsPrompts(Backbone):
    """Tells what it encodes."""

    def encode(self, x_t: Tensor, t: Tensor, text: Text) -> Skips:
        print(text.tokens.shape)
        return super().encode(x_t, t, text)


class NoNoiseAtZero(Backbone):
    """Gives views at t = 0 clean, which is for callers to do."""

    def add_noise(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return torch.where((t == 0)[..., None, None, None], latents, super().add_noise(latents, noise, t))


class SamplesLatents(Backbone):
    """Draws latents from the encoder's distribution."""

    def encode_images(self, images: Tensor) -> Tensor:
        mean = super().encode_images(images)
        return mean + 0.05 * torch.randn_like(mean)


class Grey(Backbone):
    """Decodes to grey."""

    def decode_latents(self, latents: Tensor) -> Tensor:
        pictures = super().decode_latents(latents)
        return pictures.mean(2, keepdim=True).expand_as(pictures)
