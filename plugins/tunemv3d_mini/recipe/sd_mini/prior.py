"""Second stage: text encoder and UNet learn to predict the noise in latents."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from sd_mini.data import Views
from sd_mini.models import TextToImage, make_scheduler

TEXT_DROPOUT = 0.1
"""Share of the texts replaced by the empty one, for classifier-free guidance."""


def noise_loss(
    model: TextToImage, views: Views, latents: Tensor, tokens: Tensor, empty: Tensor, batch: int
) -> Callable[[], Tensor]:
    """Mean squared error of the predicted noise for a random batch.

    Args:
        model: text encoder and UNet.
        views: whose shares and captions are drawn.
        latents: of all views, ``n 4 h w``.
        tokens: of all captions, ``captions length``.
        empty: the empty text's tokens, ``length``.
        batch: pictures a step.
    """
    device = latents.device
    kept = make_scheduler().alphas_cumprod.to(device)
    caption_of = views.caption_of

    def loss() -> Tensor:
        places = views.draw(batch)
        which = torch.randint(caption_of.shape[1], (batch,), device=device)
        texts = tokens[caption_of[places, which]]
        texts = torch.where(torch.rand(batch, 1, device=device) < TEXT_DROPOUT, empty, texts)
        t = torch.randint(len(kept), (batch,), device=device)
        clean, noise = latents[places], torch.randn_like(latents[:batch])
        signal = kept[t][:, None, None, None]
        return F.mse_loss(model(signal.sqrt() * clean + (1 - signal).sqrt() * noise, t, texts), noise)

    return loss
