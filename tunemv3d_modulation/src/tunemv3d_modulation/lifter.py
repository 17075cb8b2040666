"""O, the 2D model's encoder between the field and the injector (paper B.1), and the lifter ``copied-encoder``."""

from typing import Any

from torch import Tensor, nn

from tunemv3d_core.errors import PortsError
from tunemv3d_core.ports import BuildContext, LifterPorts, Neighbours
from tunemv3d_core.types import Text
from tunemv3d_modulation.cross_view import CrossViews
from tunemv3d_modulation.injector import zero_conv
from tunemv3d_modulation.spec import CopiedEncoderSpec, LoRAEncoderSpec
from tunemv3d_modulation.unet import repeated_blocks


def build(spec: CopiedEncoderSpec, neighbours: Neighbours, context: BuildContext) -> "EncoderLifter":
    """Build O around a trainable copy of the encoder of the backbone in ``context``.

    Raises:
        PortsError: views should attend to each other at a stride that no map has, or the encoder's blocks cannot be run
            again in the backward pass.
    """
    encoder = context.backbone.copy_encoder().to(context.device, context.dtype)
    cross_views = None
    if spec.cross_view_stride is not None:
        cross_views = CrossViews(context.backbone.ports.residuals, spec.cross_view_stride)
    return EncoderLifter(encoder, spec, context, cross_views)


class EncoderLifter(nn.Module):
    """O: rendered latents to L feature maps (``tunemv3d_core.slots.Lifter``).

    With ``raw_noise`` the stem, a light encoder of the noisy view, is added after O's first layer. It ends in a zero
    convolution, so that O starts as the 2D model's encoder of the rendered x0.

    Args:
        encoder: of the backbone's ``copy_encoder``; used as it is, because it may share the backbone's weights.
        spec: options.
        context: with the backbone.
        cross_views: attention between views on the maps.

    Raises:
        PortsError: the encoder's blocks cannot be run again in the backward pass.
    """

    def __init__(
        self,
        encoder: nn.Module,
        spec: CopiedEncoderSpec | LoRAEncoderSpec,
        context: BuildContext,
        cross_views: CrossViews | None = None,
    ) -> None:
        super().__init__()
        ports = context.backbone.ports
        place = context.device, context.dtype
        self.ports = LifterPorts(takes="latents", values=ports.latent_channels, maps=ports.residuals)
        self.encoder = encoder
        if spec.gradient_checkpointing:
            _recompute(encoder, spec.type)
        self.stem = (
            stem(ports.latent_channels, spec.stem_channels, ports.residuals[0].channels).to(*place)
            if spec.raw_noise
            else None
        )
        self.cross_views = None if cross_views is None else cross_views.to(*place)

    compiled_methods = ("forward",)

    def repeated_blocks(self) -> list[nn.Module]:
        """Return the encoder's blocks (``tunemv3d_core.slots.Compiles``)."""
        return repeated_blocks(self.encoder)

    def forward(self, values: Tensor, x_t: Tensor, t: Tensor, text: Text) -> tuple[Tensor, ...]:
        """Lift rendered latents.

        Args:
            values: ``b n c h w``, the field's x0.
            x_t: ``b n c h w``, the noisy views.
            t: ``b n``.
            text: one prompt per object.

        Returns:
            L maps ``(b n) c_k h_k w_k``.
        """
        hint = None if self.stem is None else self.stem(x_t.flatten(0, 1))
        maps: tuple[Tensor, ...] = self.encoder(values, t, text, hint)
        return maps if self.cross_views is None else tuple(self.cross_views(maps, values.shape[1]))


def _recompute(encoder: Any, lifter: str) -> None:
    if not hasattr(encoder, "enable_gradient_checkpointing"):
        raise PortsError(
            f"lifter '{lifter}': gradient_checkpointing: the copy of this backbone's encoder has no "
            "enable_gradient_checkpointing(); leave the option off"
        )
    encoder.enable_gradient_checkpointing()


def stem(channels: int, hidden: int, out: int) -> nn.Sequential:
    """Make the light encoder of x_t: two 3x3 convolutions and a zero convolution."""
    return nn.Sequential(
        nn.Conv2d(channels, hidden, 3, padding=1),
        nn.SiLU(),
        nn.Conv2d(hidden, hidden, 3, padding=1),
        nn.SiLU(),
        zero_conv(hidden, out),
    )
