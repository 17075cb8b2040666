"""A transformer from patches of all views to three planes (after LRM, arXiv:2311.04400)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.rendering.encoding import embed_noise_level, plucker_coordinates
from tunemv3d_core.rendering.precision import full_precision
from tunemv3d_lrm.spec import LRMSpec

RAY = 6
"""Channels of a ray's Pluecker coordinates: its direction and moment."""


class PlaneTransformer(nn.Module):
    """Learned tokens of three planes read the views' patches and each other, and become the planes.

    Only its rays distinguish a view from another (GS-LRM's conditioning), so the order of the views does not matter.
    """

    def __init__(self, spec: LRMSpec, features: int) -> None:
        super().__init__()
        hidden, cells = spec.hidden, spec.cells
        self.patch = spec.patch
        self.embed = nn.Conv2d(features + RAY, hidden, spec.patch, stride=spec.patch)
        self.tokens = nn.Parameter(torch.randn(3, hidden, cells, cells) / hidden**0.5)
        self.time = nn.Sequential(nn.Linear(hidden, hidden), nn.SiLU())
        self.blocks = nn.ModuleList(PlaneBlock(hidden, spec.head_channels) for _ in range(spec.blocks))
        self.norm = nn.LayerNorm(hidden)
        self.upsample = nn.ConvTranspose2d(hidden, spec.channels, spec.upsampling, stride=spec.upsampling)

    def forward(self, features: Tensor, cameras: Cameras, t: Tensor) -> Tensor:
        """Map features ``b n f h w``, cameras ``b n`` and t ``b`` to planes ``b 3 c g g``."""
        seen, own = self.view_tokens(features, cameras), self.tokens.flatten(2).mT.flatten(0, 1)
        time = self.time(embed_noise_level(t, own.shape[-1]).to(own))[:, None]
        own = own.expand(len(features), -1, -1)
        for block in self.blocks:
            own = block(own, seen, time)
        planes = torch.unflatten(self.norm(own), 1, self.tokens[:, 0].shape).permute(0, 1, 4, 2, 3)
        return torch.unflatten(self.upsample(planes.flatten(0, 1)), 0, (-1, 3))

    def view_tokens(self, features: Tensor, cameras: Cameras) -> Tensor:
        """Return the patches of features ``b n f h w``, each cell with its ray, as tokens ``b (n p) hidden``."""
        h, w = features.shape[-2:]
        with full_precision(features):
            rays = plucker_coordinates(cameras.rays((h, w)), (h, w))
        # Sizes that are no multiple of the patch are padded.
        cells = torch.cat([features.to(self.tokens), rays.to(self.tokens)], dim=2)
        inputs = F.pad(cells, (0, -w % self.patch, 0, -h % self.patch))
        tokens: Tensor = self.embed(inputs.flatten(0, 1)).flatten(2).mT
        return torch.unflatten(tokens, 0, features.shape[:2]).flatten(1, 2)


class PlaneBlock(nn.Module):
    """Attention to the views, attention among the planes' tokens, a network for each; t enters before each."""

    def __init__(self, hidden: int, head_channels: int) -> None:
        super().__init__()
        self.time = nn.Linear(hidden, 3 * hidden)
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(3))
        self.norm_seen = nn.LayerNorm(hidden)
        self.cross, self.own = Attention(hidden, head_channels), Attention(hidden, head_channels)
        self.each = nn.Sequential(nn.Linear(hidden, 4 * hidden), nn.GELU(), nn.Linear(4 * hidden, hidden))

    def forward(self, tokens: Tensor, seen: Tensor, time: Tensor) -> Tensor:
        """Map the planes' tokens ``b p h``, those of the views ``b q h`` and embedded t ``b 1 h`` to tokens."""
        cross, own, each = self.time(time).chunk(3, dim=-1)
        tokens = tokens + self.cross(self.norms[0](tokens) + cross, self.norm_seen(seen))
        inner = self.norms[1](tokens) + own
        tokens = tokens + self.own(inner, inner)
        outcome: Tensor = tokens + self.each(self.norms[2](tokens) + each)
        return outcome


class Attention(nn.Module):
    """Attention of tokens to others."""

    def __init__(self, hidden: int, head_channels: int) -> None:
        super().__init__()
        self.heads = hidden // head_channels
        self.query, self.out = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.key_value = nn.Linear(hidden, 2 * hidden)

    def forward(self, tokens: Tensor, others: Tensor) -> Tensor:
        """Map tokens ``b p h``, which ask, and ``b q h``, which are asked, to ``b p h``."""
        parts = self.query(tokens), *self.key_value(others).chunk(2, dim=-1)
        query, key, value = (torch.unflatten(z, -1, (self.heads, -1)).transpose(1, 2) for z in parts)
        heads: Tensor = self.out(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))
        return heads
