"""Pictures to latents and back, the same way for everyone."""

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from tunemv3d_core.slots import Backbone
from tunemv3d_core.types import Views

ENCODED_AT_ONCE = 16


@torch.no_grad()
def encode_views(backbone: Backbone, views: Views, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Return latents ``n c h w`` in float32 and alpha ``n h w``, averaged down to latent cells, of one object's views.

    Args:
        backbone: its ``encode_images``.
        views: a batch of one; ``ENCODED_AT_ONCE`` pass the encoder together.
        device: where the backbone is.
    """
    chunks = torch.split(views.images, ENCODED_AT_ONCE, dim=1)
    latents = torch.cat([backbone.encode_images(chunk.to(device))[0].float() for chunk in chunks])
    # In one layout, because what is computed from them is rounded by it.
    latents = latents.contiguous()
    return latents, adaptive_avg_pool2d(views.alpha, (latents.shape[-2], latents.shape[-1]))[0]


def decode_pictures(backbone: Backbone, latents: Tensor) -> Tensor:
    """Decode latents ``b n c h w`` to pictures ``b n 3 H W`` in float32 and [0, 1], where the latents are."""
    return (backbone.decode_latents(latents).float() / 2 + 0.5).clamp(0, 1)
