"""Cross-view attention on O's maps: views look at each other without a field between them.

Not in the supplement: the ablation that asks what plain attention between views would give beside the field.
"""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from tunemv3d_core.errors import PortsError
from tunemv3d_core.layers import zero_init
from tunemv3d_core.ports import MapPort

HEAD_CHANNELS = 64
"""Channels of one attention head, or the largest divisor that they share with the map's."""

GROUPS = 32
"""Groups of the GroupNorm, likewise."""


class CrossViews(nn.Module):
    """One ``CrossViewAttention`` for every map from a stride on.

    Args:
        maps: the L maps.
        stride: the smallest stride, in latent cells, at which views attend to each other.

    Raises:
        PortsError: no map has such a stride.
    """

    def __init__(self, maps: tuple[MapPort, ...], stride: int) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(
            {str(k): CrossViewAttention(m.channels) for k, m in enumerate(maps) if m.stride >= stride}
        )
        if not self.layers:
            raise PortsError(
                f"lifter 'copied-encoder': cross_view_stride = {stride} leaves no map; "
                f"the backbone has maps of strides up to {max(m.stride for m in maps)}"
            )

    def forward(self, maps: tuple[Tensor, ...], views: int) -> tuple[Tensor, ...]:
        """Let views attend on L maps ``(b n) c_k h_k w_k`` with n = ``views``; smaller strides pass unchanged."""
        return tuple(self.layers[str(k)](m, views) if str(k) in self.layers else m for k, m in enumerate(maps))


class CrossViewAttention(nn.Module):
    """Every cell of every view of an object attends to all of them. Adds exact zeros until its first update.

    All views are treated alike, so permuting the views permutes the result.

    Args:
        channels: channels of the map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = channels // math.gcd(channels, HEAD_CHANNELS)
        self.norm = nn.GroupNorm(math.gcd(channels, GROUPS), channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = zero_init(nn.Linear(channels, channels))

    def forward(self, x: Tensor, views: int) -> Tensor:
        """Attend over ``(b n) c h w`` with n = ``views``; returns the same shape."""
        _, c, h, w = x.shape
        cells = self.norm(x).reshape(-1, views, c, h * w).transpose(2, 3).reshape(-1, views * h * w, c)
        # b p (3 heads d) to three of b heads p d
        q, k, v = self.qkv(cells).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        added: Tensor = attended.reshape(-1, h * w, c).transpose(1, 2).reshape(x.shape)
        return x + added
