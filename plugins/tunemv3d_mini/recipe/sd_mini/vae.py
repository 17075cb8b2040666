"""First stage: the autoencoder, and the latent space in which white is zero."""

import math
from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from sd_mini.data import Views, composite

STRIDE = 4
"""Pixels of a latent cell, per axis."""
GROUND_WEIGHT = 0.5
"""Of ``ground_loss``."""


def reconstruction_loss(vae: AutoencoderKL, views: Views, batch: int) -> Callable[[], Tensor]:
    """Compute the loss of a random batch of views, half of them in other colours.

    The mean colour over 8 x 8 pixels has its own term: without it, small networks give up rare colours first.
    """

    def loss() -> Tensor:
        clean, alpha = augmented(views.images[views.draw(batch)])
        mean, log_variance = moments(vae, clean)
        latents = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        made = decode(vae, latents)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        coarse = F.l1_loss(F.avg_pool2d(made, 8), F.avg_pool2d(clean, 8))
        edges = sum(F.l1_loss(made.diff(dim=axis), clean.diff(dim=axis)) for axis in (-1, -2))
        pictures = F.l1_loss(made, clean) + 4 * coarse + 2 * F.mse_loss(made, clean) + 0.1 * edges
        return pictures + 1e-4 * divergence + GROUND_WEIGHT * ground_loss(mean, alpha)

    return loss


def ground_loss(latents: Tensor, alpha: Tensor) -> Tensor:
    """Mean square of the white ground's latents over that of all others: how far they depend on the object.

    Group norms look at the whole picture, so that without this term the ground's latents shift with the object's size
    and colour. No 3D field could then render them.

    Args:
        latents: ``n c h w``.
        alpha: ``n 1 H W`` in [0, 1].
    """
    ground = ground_cells(alpha).float()
    energy = latents.square().mean(1, keepdim=True)
    rest = (energy * (1 - ground)).sum() / (1 - ground).sum().clamp(min=1)
    return (energy * ground).sum() / ground.sum().clamp(min=1) / rest.detach().clamp(min=1e-6)


def ground_cells(alpha: Tensor) -> Tensor:
    """Find the cells that the object keeps at least one cell's distance from: ``n 1 H W`` to ``n 1 h w``, boolean."""
    return F.max_pool2d(alpha, 3 * STRIDE, stride=STRIDE, padding=STRIDE) == 0


def augmented(images: Tensor) -> tuple[Tensor, Tensor]:
    """Composite RGBA uint8 ``n 4 H W`` over white, mirrored and recoloured, each half of the time.

    Returns:
        ``n 3 H W`` in [-1, 1], and alpha ``n 1 H W`` in [0, 1].
    """
    n, device = len(images), images.device
    colours = images[:, :3].float() / 255
    matrices = torch.where(_coin(n, device), random_recolouring(n, device), torch.eye(3, device=device))
    colours = torch.einsum("nij,njhw->nihw", matrices, colours).clamp(0, 1)
    alpha = images[:, 3:].float() / 255
    drawn = torch.cat([(colours * alpha + 1 - alpha) * 2 - 1, alpha], dim=1)
    drawn = torch.where(_coin(n, device)[..., None], drawn.flip(-1), drawn)
    return drawn[:, :3], drawn[:, 3:]


def random_recolouring(n: int, device: torch.device) -> Tensor:
    """Draw ``n 3 3``: turn the hue about the grey axis, scale saturation by 0.5 to 2.5, brightness by 0.7 to 1.2."""
    uniform = torch.rand(3, n, 1, 1, device=device)
    angle = 2 * math.pi * uniform[0]
    saturation = 0.5 * 5 ** uniform[1]
    brightness = 0.7 + 0.5 * uniform[2]
    eye = torch.eye(3, device=device)
    grey = torch.full((3, 3), 1 / 3, device=device)
    turn = (eye.roll(1, 0) - eye.roll(-1, 0)) / math.sqrt(3)
    return brightness * (grey + saturation * (angle.cos() * (eye - grey) + angle.sin() * turn))


def moments(vae: AutoencoderKL, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Encode ``n 3 H W`` in [-1, 1] to mean and log variance of the latents, each ``n 4 h w``, float32."""
    mean, log_variance = vae.quant_conv(vae.encoder(pictures.to(vae.dtype))).float().chunk(2, dim=1)
    return mean, log_variance.clamp(-30, 20)


def decode(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """Decode to pictures ``n 3 H W``, about [-1, 1], float32."""
    pictures: Tensor = vae.decoder(vae.post_quant_conv(latents.to(vae.dtype)))
    return pictures.float()


@torch.no_grad()
def encode_all(vae: AutoencoderKL, images: Tensor, chunk: int = 256) -> Tensor:
    """Encode to posterior means of RGBA uint8 ``n 4 H W`` over white: ``n 4 h w``."""
    return torch.cat([moments(vae, composite(part) * 2 - 1)[0] for part in images.split(chunk)])


@torch.no_grad()
def white_latent(vae: AutoencoderKL, side: int) -> Tensor:
    """Encode a white picture, ``4 h w``."""
    device = next(vae.parameters()).device
    return moments(vae, torch.ones(1, 3, side, side, device=device))[0][0]


@torch.no_grad()
def centre(vae: AutoencoderKL, images: Tensor) -> Tensor:
    """Fold shift and scale into the 1x1 convolutions around the latents.

    Afterwards a white picture's latent is 0 away from the border and every channel's root mean square over ``images``
    is 1. What the autoencoder makes of a picture does not change.

    Args:
        vae: changed in place; float32.
        images: training pictures, RGBA uint8 ``n 4 H W``.

    Returns:
        The latents of the images, ``n 4 h w``.
    """
    latents = encode_all(vae, images)
    white = white_latent(vae, images.shape[-1])
    inner = white.shape[-1] // 4
    shift = white[:, inner:-inner, inner:-inner].mean((1, 2))
    latents -= shift[:, None, None]
    scale = latents.square().mean((0, 2, 3)).sqrt()
    before, after = cast(nn.Conv2d, vae.quant_conv), cast(nn.Conv2d, vae.post_quant_conv)
    after_bias, before_bias = cast(Tensor, after.bias), cast(Tensor, before.bias)
    after_bias += after.weight[:, :, 0, 0] @ shift
    after.weight *= scale[:, None, None]
    before_bias[:4] = (before_bias[:4] - shift) / scale
    before.weight[:4] /= scale[:, None, None, None]
    before_bias[4:] -= 2 * scale.log()
    return latents / scale[:, None, None]


def _coin(n: int, device: torch.device) -> Tensor:
    return torch.rand(n, 1, 1, device=device) < 0.5
