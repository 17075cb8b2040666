"""A UNet2DConditionModel in two halves, and a trainable copy of the first.

``encode`` and ``decode`` do what ``UNet2DConditionModel.forward`` does, in its order of operations, for the options
that Stable Diffusion 1.x, 2.x and XL use; ``check_supported`` refuses all others. The L maps stand in the encoder's
order: the first convolution, every layer and downsampling of the down blocks, then the middle block.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tunemv3d_core.errors import ComponentError
from tunemv3d_core.ports import MapPort
from tunemv3d_core.types import Text

DOWN_BLOCKS = {"DownBlock2D", "CrossAttnDownBlock2D"}
MID_BLOCKS = {"UNetMidBlock2D", "UNetMidBlock2DCrossAttn"}
UP_BLOCKS = {"UpBlock2D", "CrossAttnUpBlock2D"}

COMPILED_BLOCKS = {"ResnetBlock2D", "Transformer2DModel"}
"""Blocks that hold nearly all of a UNet's work, and repeat."""

SUPPORTED_OPTIONS: dict[str, tuple[Any, ...]] = {
    "center_input_sample": (False,),
    "class_embed_type": (None,),
    "num_class_embeds": (None,),
    "addition_embed_type": (None, "text_time"),
    "encoder_hid_dim": (None,),
    "encoder_hid_dim_type": (None,),
    "time_cond_proj_dim": (None,),
    "time_embedding_act_fn": (None,),
    "attention_type": ("default",),
}
"""Options that change ``UNet2DConditionModel.forward``, and the values that the two halves reproduce."""

SIZE_NUMBERS = 6
"""Numbers that XL takes for an image: its original height and width, the crop's corner, the target height and width."""


def check_supported(config: Any, what: str) -> None:
    """Refuse a UNet whose forward pass the two halves would not reproduce.

    Args:
        config: the UNet's config, a mapping.
        what: the model's name in the message.

    Raises:
        ComponentError: names every option that is in the way.
    """
    faults = [
        f"{option} = {config[option]!r} (needed: {' or '.join(map(repr, values))})"
        for option, values in SUPPORTED_OPTIONS.items()
        if config.get(option, values[0]) not in values
    ]
    kinds = {
        "down_block_types": (config["down_block_types"], DOWN_BLOCKS),
        "mid_block_type": ([config["mid_block_type"]], MID_BLOCKS),
        "up_block_types": (config["up_block_types"], UP_BLOCKS),
    }
    for option, (used, known) in kinds.items():
        if foreign := sorted({str(kind) for kind in used} - known):
            faults.append(f"{option} has {', '.join(foreign)} (known: {', '.join(sorted(known))})")
    if config["in_channels"] != config["out_channels"]:
        faults.append(
            f"in_channels = {config['in_channels']} differs from out_channels = {config['out_channels']}, "
            "as in inpainting, depth and instruction models"
        )
    if faults:
        raise ComponentError(
            f"{what}: the UNet is not of Stable Diffusion's text-to-image layout (1.x, 2.x or XL): "
            + "; ".join(faults)
            + ". Use a plain text-to-image model, or write a backbone component for this one."
        )


def residual_ports(unet: Any) -> tuple[MapPort, ...]:
    """Return the L maps of a UNet with channels and strides, in the order in which ``encode`` gives them."""
    ports, stride = [MapPort(unet.conv_in.out_channels, 1)], 1
    for block in unet.down_blocks:
        ports += [MapPort(layer.out_channels, stride) for layer in block.resnets]
        for downsample in block.downsamplers or ():
            stride *= 2
            ports.append(MapPort(downsample.out_channels, stride))
    return (*ports, MapPort(unet.mid_block.resnets[-1].out_channels, stride))


def embed(net: Any, x: Tensor, t: Tensor, text: Text, image_stride: int) -> Tensor:
    """Compute the embedding that every residual block of ``net`` takes.

    Args:
        net: a ``UNet2DConditionModel`` or an ``EncoderCopy``.
        x: ``(b n) c h w``.
        t: ``(b n)``, float steps allowed.
        text: one prompt per view; XL also sees it pooled.
        image_stride: image pixels per latent cell: XL takes the image's size, of which nothing was cropped.
    """
    # The sinusoids are float32 whatever the model's dtype, as in diffusers.
    emb: Tensor = net.time_embedding(net.time_proj(t).to(x.dtype))
    if not hasattr(net, "add_embedding"):
        return emb
    assert text.pooled is not None
    size_embeds = net.add_time_proj(image_sizes(x, image_stride).flatten()).reshape(len(x), -1)
    added: Tensor = net.add_embedding(torch.cat([text.pooled, size_embeds], dim=-1).to(emb.dtype))
    return emb + added


def image_sizes(x: Tensor, image_stride: int) -> Tensor:
    """Return the numbers that XL takes for uncropped images of latents ``(b n) c h w``: ``(b n) SIZE_NUMBERS``."""
    sizes = torch.zeros(len(x), SIZE_NUMBERS, device=x.device)
    sizes[:, 0::4] = x.shape[-2] * image_stride
    sizes[:, 1::4] = x.shape[-1] * image_stride
    return sizes


def encode(net: Any, x: Tensor, emb: Tensor, tokens: Tensor, hint: Tensor | None = None) -> tuple[Tensor, ...]:
    """Run the first half: ``conv_in``, the down blocks and the middle block.

    Args:
        net: a ``UNet2DConditionModel`` or an ``EncoderCopy``.
        x: ``(b n) c h w``.
        emb: of ``embed``.
        tokens: ``(b n) l d``.
        hint: ``(b n) c_0 h w``, added after ``conv_in``.

    Returns:
        L maps ``(b n) c_k h_k w_k``.
    """
    x = net.conv_in(x)
    if hint is not None:
        x = x + hint
    maps: tuple[Tensor, ...] = (x,)
    for block in net.down_blocks:
        x, block_maps = block(x, emb, **_attend(block, tokens))
        maps += block_maps
    return (*maps, net.mid_block(x, emb, **_attend(net.mid_block, tokens)))


def decode(unet: Any, maps: tuple[Tensor, ...], emb: Tensor, tokens: Tensor) -> Tensor:
    """Run the second half, the up blocks and output layers: from the L maps to the prediction ``(b n) c h w``."""
    *skips, x = maps
    for block in unet.up_blocks:
        used = len(block.resnets)
        block_skips, skips = tuple(skips[-used:]), skips[:-used]
        # The next skip's size, so that latents which the strides do not divide come out right.
        size = skips[-1].shape[-2:] if skips else None
        x = block(x, block_skips, emb, upsample_size=size, **_attend(block, tokens))
    if unet.conv_norm_out is not None:
        x = unet.conv_act(unet.conv_norm_out(x))
    prediction: Tensor = unet.conv_out(x)
    return prediction


def repeated_blocks(net: nn.Module) -> list[nn.Module]:
    """Return the blocks of a UNet or of an ``EncoderCopy`` that are compiled by themselves."""
    return [module for module in net.modules() if type(module).__name__ in COMPILED_BLOCKS]


def cast_frozen(net: nn.Module, dtype: torch.dtype) -> None:
    """Cast what autocast would cast anyway: frozen weights of linear layers and convolutions, not those of norms."""
    for layer in net.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            for parameter in layer.parameters(recurse=False):
                if not parameter.requires_grad:
                    # In place: a lifter may share it.
                    parameter.data = parameter.data.to(dtype)


def recompute(net: nn.Module) -> Callable[..., Any]:
    """Make what diffusers' blocks call in place of their inner ones, so that the backward pass runs these again.

    Args:
        net: with those blocks. Where nothing in it draws random numbers none are kept, which a CUDA graph could not.
    """
    draws = any(isinstance(module, nn.Dropout) and module.p > 0 for module in net.modules())

    def run(block: nn.Module, *inputs: Any) -> Any:
        return checkpoint(block.__call__, *inputs, use_reentrant=False, preserve_rng_state=draws)

    return run


def _attend(block: Any, tokens: Tensor) -> dict[str, Tensor]:
    return {"encoder_hidden_states": tokens} if getattr(block, "has_cross_attention", False) else {}


class EncoderCopy(nn.Module):
    """A trainable copy of a UNet's first half with the same weights (ControlNet's layout, without its hint network).

    Args:
        unet: a supported ``UNet2DConditionModel``; it is not changed.
        image_stride: image pixels per latent cell.
        share: copy the layers but hold the UNet's own parameters in them, as trainable as they are there.
    """

    def __init__(self, unet: Any, image_stride: int, share: bool = False) -> None:
        super().__init__()
        self.image_stride = image_stride
        # What deepcopy finds in its memo it takes for copied already.
        memo = {id(tensor): tensor for tensor in (*unet.parameters(), *unet.buffers())} if share else {}
        self.conv_in = copy.deepcopy(unet.conv_in, memo)
        self.time_proj = copy.deepcopy(unet.time_proj, memo)
        self.time_embedding = copy.deepcopy(unet.time_embedding, memo)
        if hasattr(unet, "add_embedding"):
            self.add_time_proj = copy.deepcopy(unet.add_time_proj, memo)
            self.add_embedding = copy.deepcopy(unet.add_embedding, memo)
        self.down_blocks = copy.deepcopy(unet.down_blocks, memo)
        self.mid_block = copy.deepcopy(unet.mid_block, memo)
        if not share:
            self.requires_grad_(True)
        self._set_gradient_checkpointing(False)

    def enable_gradient_checkpointing(self) -> None:
        """Keep no intermediate results of the blocks, as diffusers' method of this name does; the UNet is as it was."""
        self._set_gradient_checkpointing(True)

    def _set_gradient_checkpointing(self, enable: bool) -> None:
        blocks: list[Any] = [module for module in self.modules() if hasattr(module, "gradient_checkpointing")]
        for block in blocks:
            block.gradient_checkpointing, block._gradient_checkpointing_func = enable, recompute(self)

    def forward(self, x: Tensor, t: Tensor, text: Text, hint: Tensor | None = None) -> tuple[Tensor, ...]:
        """Encode ``x``.

        Args:
            x: ``b n c h w``.
            t: ``b n``.
            text: one prompt per object.
            hint: ``(b n) c_0 h w``, added after the first layer.

        Returns:
            L maps ``(b n) c_k h_k w_k`` in the backbone's order.
        """
        text, flat = text.per_view(x.shape[1]), x.flatten(0, 1)
        return encode(self, flat, embed(self, flat, t.flatten(), text, self.image_stride), text.tokens, hint)
