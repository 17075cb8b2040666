"""The view encoder E (paper B.1): ResBlocks and AttentionBlocks in a small U at latent resolution.

ResBlocks are conditioned on t, AttentionBlocks on the text. Each view is encoded by itself, with the same weights.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import PortsError
from tunemv3d_core.layers import zero_init
from tunemv3d_core.ports import BuildContext, Neighbours, ViewEncoderPorts
from tunemv3d_core.rendering.encoding import embed_noise_level
from tunemv3d_core.types import Text
from tunemv3d_neus.spec import ResAttnSpec

PRESENCE = 2.0
"""Rate at which a cell counts as showing an object, per squared distance from the white background's latent, whose root
mean square over pictures is about 1 in every channel."""


def build(spec: ResAttnSpec, neighbours: Neighbours, context: BuildContext) -> "ResAttnEncoder":
    """Build the encoder for the backbone's latents and text.

    Raises:
        PortsError: with ``foreground_x0``, no feature channels beside it.
    """
    backbone = neighbours.backbone
    passed_on = backbone.latent_channels + 1
    if spec.foreground_x0 and spec.features <= passed_on:
        raise PortsError(
            f"view_encoder 'resattn': features = {spec.features} leaves no room beside the {passed_on} channels of "
            "foreground_x0; raise features or switch foreground_x0 off"
        )
    return ResAttnEncoder(spec, backbone.latent_channels, backbone.text_channels).to(context.device, context.dtype)


class ResAttnEncoder(nn.Module):
    """Encodes n noisy views, each by itself, to f feature channels at latent resolution.

    With ``foreground_x0``, its own channels start at zero: at first the field sees x0 alone.
    """

    def __init__(self, spec: ResAttnSpec, latent_channels: int, text_channels: int) -> None:
        super().__init__()
        self.ports = ViewEncoderPorts(features=spec.features, foreground_x0=spec.foreground_x0)
        widths, lowest = spec.channels, len(spec.channels) - 1
        time = 4 * widths[0]
        self.time_channels = widths[0]
        self.time = nn.Sequential(nn.Linear(widths[0], time), nn.SiLU(), nn.Linear(time, time), nn.SiLU())
        inputs = 2 * latent_channels if spec.foreground_x0 else latent_channels
        own = spec.features - latent_channels - 1 if spec.foreground_x0 else spec.features
        self.conv_in = nn.Conv2d(inputs, widths[0], 3, padding=1)

        def level(channels: int, at: int) -> Level:
            attends = at >= spec.attention_from or at == lowest
            return Level(channels, widths[at], time, text_channels, attends, spec)

        self.down = nn.ModuleList(level(widths[max(at - 1, 0)], at) for at in range(lowest + 1))
        self.shrink = nn.ModuleList(nn.Conv2d(c, c, 3, stride=2, padding=1) for c in widths[:-1])
        self.up = nn.ModuleList(level(widths[at + 1] + widths[at], at) for at in reversed(range(lowest)))
        self.conv_out = nn.Sequential(
            nn.GroupNorm(spec.groups, widths[0]), nn.SiLU(), nn.Conv2d(widths[0], own, 3, padding=1)
        )
        if spec.foreground_x0:
            zero_init(self.conv_out[-1])

    compiled_methods = ("forward",)

    def repeated_blocks(self) -> list[nn.Module]:
        """Return the ResBlocks and AttentionBlocks (``tunemv3d_core.slots.Compiles``)."""
        return [module for module in self.modules() if isinstance(module, ResBlock | AttentionBlock)]

    def forward(
        self, x_t: Tensor, t: Tensor, text: Text, cameras: Cameras, foreground_x0: Tensor | None = None
    ) -> Tensor:
        """Encode the views.

        Args:
            x_t: ``b n c h w``.
            t: ``b n``, float.
            text: b prompts.
            cameras: ``b n``; not used, the field knows where the cameras stand.
            foreground_x0: ``b n c h w``, the frozen model's x0 of the views minus the white background, where the spec
                asks for it.

        Returns:
            ``b n f h w``; with ``foreground_x0``, the last channels are it and where it shows an object (0 to 1).
        """
        b, n = t.shape
        weight = self.conv_in.weight
        time = self.time(embed_noise_level(t.flatten(), self.time_channels).to(weight.dtype))
        text = text.per_view(n)
        inputs = x_t if foreground_x0 is None else torch.cat([x_t, foreground_x0], dim=2)
        x = self.conv_in(inputs.flatten(0, 1).to(weight.dtype))
        skips: list[Tensor] = []
        for level, down in enumerate(self.down):
            x = down(x, time, text)
            if level < len(self.shrink):
                skips.append(x)
                x = self.shrink[level](x)
        for up in self.up:
            skip = skips.pop()
            x = up(torch.cat([F.interpolate(x, size=skip.shape[-2:]), skip], dim=1), time, text)
        features = torch.unflatten(self.conv_out(x), 0, (b, n))
        if foreground_x0 is None:
            return features
        shown = 1 - torch.exp(-PRESENCE * foreground_x0.square().sum(2, keepdim=True))
        return torch.cat([features, foreground_x0.to(features.dtype), shown.to(features.dtype)], dim=2)


class Level(nn.Module):
    """ResBlocks of one resolution, each followed by attention where the level attends."""

    def __init__(
        self, inputs: int, channels: int, time: int, text_channels: int, attends: bool, spec: ResAttnSpec
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            ResBlock(inputs if k == 0 else channels, channels, time, spec.groups) for k in range(spec.blocks)
        )
        attentions = spec.blocks if attends else 0
        self.attentions = nn.ModuleList(
            AttentionBlock(channels, text_channels, spec.head_channels, spec.groups) for _ in range(attentions)
        )

    def forward(self, x: Tensor, time: Tensor, text: Text) -> Tensor:
        """Map ``b c h w``, embedded t ``b e`` and b texts to ``b c' h w``."""
        for k, block in enumerate(self.blocks):
            x = block(x, time)
            if self.attentions:
                x = self.attentions[k](x, text)
        return x


class ResBlock(nn.Module):
    """Two normalised 3x3 convolutions around which the input is added; t enters between them."""

    def __init__(self, inputs: int, channels: int, time: int, groups: int) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(groups, inputs)
        self.conv_in = nn.Conv2d(inputs, channels, 3, padding=1)
        self.time = nn.Linear(time, channels)
        self.norm_out = nn.GroupNorm(groups, channels)
        self.conv_out = nn.Conv2d(channels, channels, 3, padding=1)
        self.skip = nn.Conv2d(inputs, channels, 1) if inputs != channels else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Map ``b c h w`` and embedded t ``b e`` to ``b c' h w``."""
        inner = self.conv_in(F.silu(self.norm_in(x))) + self.time(time)[:, :, None, None]
        outcome: Tensor = self.skip(x) + self.conv_out(F.silu(self.norm_out(inner)))
        return outcome


class AttentionBlock(nn.Module):
    """Self-attention over a view's cells, then cross-attention from the cells to the text's tokens."""

    def __init__(self, channels: int, text_channels: int, head_channels: int, groups: int) -> None:
        super().__init__()
        self.heads = channels // head_channels
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        self.norm_text = nn.LayerNorm(channels)
        self.q_text = nn.Linear(channels, channels)
        self.kv_text = nn.Linear(text_channels, 2 * channels)
        self.out_text = nn.Linear(channels, channels)

    def forward(self, x: Tensor, text: Text) -> Tensor:
        """Map ``b c h w`` and b texts to ``b c h w``."""
        cells = self.norm(x).flatten(2).mT
        added: Tensor = self.out(self._attend(self.qkv(cells).chunk(3, dim=-1)))
        tokens = text.tokens.to(self.kv_text.weight.dtype)
        mask = None if text.mask is None else text.mask.bool()[:, None, None, :]
        query = self.q_text(self.norm_text(x.flatten(2).mT + added))
        added = added + self.out_text(self._attend((query, *self.kv_text(tokens).chunk(2, dim=-1)), mask))
        return x + torch.unflatten(added.mT, 2, x.shape[-2:])

    def _attend(self, projected: tuple[Tensor, ...], mask: Tensor | None = None) -> Tensor:
        query, key, value = (torch.unflatten(z, -1, (self.heads, -1)).transpose(1, 2) for z in projected)
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2).flatten(2)
