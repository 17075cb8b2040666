"""Attention over the cells of all views of an object (after MVDream)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tunemv3d_attention.spec import AttentionFieldSpec
from tunemv3d_core.layers import zero_init
from tunemv3d_core.rendering.encoding import embed_noise_level

RAY = 6
"""Channels of a ray's Pluecker coordinates: its direction and moment."""


class AttentionNetwork(nn.Module):
    """Maps of values and of opacity's logits; both zero at the start.

    Only its rays distinguish a view from another, so permuting the views permutes the result. A view's own features
    reach its maps through a skip connection too: the network need not first learn to pass them on.
    """

    def __init__(self, spec: AttentionFieldSpec, features: int, values: int) -> None:
        super().__init__()
        self.hidden, self.patch = spec.hidden, spec.patch
        self.time = nn.Sequential(nn.Linear(spec.hidden, spec.hidden), nn.SiLU())
        self.conv_in = nn.Conv2d(features + RAY, spec.hidden, spec.patch, stride=spec.patch)
        self.blocks = nn.ModuleList(TransformerBlock(spec.hidden, spec.head_channels) for _ in range(spec.blocks))
        self.norm = nn.LayerNorm(spec.hidden)
        self.fine = nn.Conv2d(features + RAY, spec.hidden, 3, padding=1)
        self.conv_out = zero_init(nn.Conv2d(spec.hidden, values + 1, 3, padding=1))
        self.skip = zero_init(nn.Conv2d(features, values + 1, 1, bias=False))

    def forward(self, features: Tensor, rays: Tensor, t: Tensor) -> Tensor:
        """Map features ``b n f h w``, rays ``b n 6 h w`` and t ``b`` to ``b n (v + 1) h w``, all float32."""
        (b, n), (h, w) = features.shape[:2], features.shape[-2:]
        inputs = torch.cat([features, rays], dim=2).flatten(0, 1)
        # Sizes that are no multiple of the patch are padded, and cut off again.
        coarse = self.conv_in(F.pad(inputs, (0, -w % self.patch, 0, -h % self.patch)))
        tokens = coarse.flatten(2).mT.reshape(b, -1, self.hidden)
        time = self.time(embed_noise_level(t, self.hidden))[:, None]
        for block in self.blocks:
            tokens = block(tokens, time)
        attended = self.norm(tokens).reshape(b * n, -1, self.hidden).mT.reshape(coarse.shape)
        attended = F.interpolate(attended, scale_factor=float(self.patch))[..., :h, :w]
        learned = self.conv_out(F.silu(self.fine(inputs) + attended)).float()
        maps: Tensor = learned + self.skip(features.flatten(0, 1)).float()
        return torch.unflatten(maps, 0, (b, n))


class TransformerBlock(nn.Module):
    """Attention over all tokens of an object, then an MLP for each token; t enters before each."""

    def __init__(self, hidden: int, head_channels: int) -> None:
        super().__init__()
        self.heads = hidden // head_channels
        self.time = nn.Linear(hidden, 2 * hidden)
        self.norm_attention, self.norm_each = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.qkv, self.out = nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden)
        self.each = nn.Sequential(nn.Linear(hidden, 2 * hidden), nn.GELU(), nn.Linear(2 * hidden, hidden))

    def forward(self, tokens: Tensor, time: Tensor) -> Tensor:
        """Map tokens ``b p hidden`` and embedded t ``b 1 hidden`` to tokens."""
        before_attention, before_each = self.time(time).chunk(2, dim=-1)
        qkv = self.qkv(self.norm_attention(tokens) + before_attention)
        query, key, value = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        heads = F.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.out(heads.transpose(1, 2).flatten(2))
        outcome: Tensor = tokens + self.each(self.norm_each(tokens) + before_each)
        return outcome
