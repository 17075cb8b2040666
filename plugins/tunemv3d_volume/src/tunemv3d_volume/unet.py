"""A small 3D U-Net, conditioned on the noise level."""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from tunemv3d_core.layers import zero_init
from tunemv3d_core.rendering.encoding import embed_noise_level

GROUP = 8
"""Channels that are normalised together; alone, a channel would forget what t adds to it."""


class UNet3D(nn.Module):
    """Maps a volume of ``inputs`` channels to one of ``channels[0]``; each level halves the resolution."""

    def __init__(self, inputs: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.width = 4 * channels[0]
        self.time = nn.Sequential(nn.Linear(self.width, self.width), nn.SiLU())
        self.conv_in = nn.Conv3d(inputs, channels[0], 1)
        self.down = nn.ModuleList(ResBlock3D(c, self.width) for c in channels)
        levels = list(pairwise(channels))
        self.shrink = nn.ModuleList(nn.Conv3d(fine, coarse, 2, stride=2) for fine, coarse in levels)
        self.grow = nn.ModuleList(nn.ConvTranspose3d(coarse, fine, 2, stride=2) for fine, coarse in levels)
        self.up = nn.ModuleList(ResBlock3D(c, self.width) for c in channels[:-1])

    def forward(self, volume: Tensor, t: Tensor) -> Tensor:
        """Map ``b i d h w`` and noise levels ``b`` to ``b c d h w``; each level after the first halves the size."""
        time: Tensor = self.time(embed_noise_level(t, self.width))
        x: Tensor = self.conv_in(volume)
        skips = []
        for level, block in enumerate(self.down):
            x = block(x, time)
            if level < len(self.shrink):
                skips.append(x)
                x = self.shrink[level](x)
        for level in reversed(range(len(self.up))):
            x = self.up[level](skips[level] + self.grow[level](x), time)
        return x


class ResBlock3D(nn.Module):
    """Two normalised 3x3x3 convolutions around which the volume is added; t enters between them. The last starts at
    zero.
    """

    def __init__(self, channels: int, time: int) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(channels // GROUP, channels)
        self.conv_in = nn.Conv3d(channels, channels, 3, padding=1)
        self.time = nn.Linear(time, channels)
        self.norm_out = nn.GroupNorm(channels // GROUP, channels)
        self.conv_out = zero_init(nn.Conv3d(channels, channels, 3, padding=1))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Map ``b c d h w`` and embedded t ``b e`` to ``b c d h w``."""
        inner = self.conv_in(F.silu(self.norm_in(x))) + self.time(time)[..., None, None, None]
        outcome: Tensor = x + self.conv_out(F.silu(self.norm_out(inner)))
        return outcome
