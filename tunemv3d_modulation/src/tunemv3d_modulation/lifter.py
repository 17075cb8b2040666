"""The lifter ``copied-encoder``: O, a trainable copy of the 2D model's encoder (paper B.1)."""

from torch import Tensor, nn

from tunemv3d_core.ports import BuildContext, LifterPorts, Neighbours
from tunemv3d_core.slots import Backbone
from tunemv3d_core.types import Text
from tunemv3d_modulation.injector import zero_conv
from tunemv3d_modulation.spec import CopiedEncoderSpec


def build(spec: CopiedEncoderSpec, neighbours: Neighbours, context: BuildContext) -> "CopiedEncoder":
    """Build O from the backbone in ``context``."""
    return CopiedEncoder(spec, context.backbone).to(context.device, context.dtype)


class CopiedEncoder(nn.Module):
    """O: rendered latents to L feature maps (``tunemv3d_core.slots.Lifter``).

    With ``raw_noise`` the stem, a light encoder of the noisy view, is added after O's first layer. It ends in a zero
    convolution, so that O starts as the 2D model's encoder of the rendered x0.

    Args:
        spec: options.
        backbone: the model whose encoder is copied.
    """

    def __init__(self, spec: CopiedEncoderSpec, backbone: Backbone) -> None:
        super().__init__()
        ports = backbone.ports
        self.ports = LifterPorts(takes="latents", values=ports.latent_channels, maps=ports.residuals)
        self.encoder = backbone.copy_encoder()
        self.stem = (
            stem(ports.latent_channels, spec.stem_channels, ports.residuals[0].channels) if spec.raw_noise else None
        )

    def forward(self, values: Tensor, x_t: Tensor, t: Tensor, text: Text) -> tuple[Tensor, ...]:
        """Lift rendered latents.

        Args:
            values: ``b n c h w``, the field's x0.
            x_t: ``b n c h w``, the noisy views.
            t: ``b n``.
            text: one prompt an object.

        Returns:
            L maps ``(b n) c_k h_k w_k``.
        """
        hint = None if self.stem is None else self.stem(x_t.flatten(0, 1))
        return tuple(self.encoder(values, t, text, hint))


def stem(channels: int, hidden: int, out: int) -> nn.Sequential:
    """The light encoder of x_t: two 3x3 convolutions and a zero convolution."""
    return nn.Sequential(
        nn.Conv2d(channels, hidden, 3, padding=1),
        nn.SiLU(),
        nn.Conv2d(hidden, hidden, 3, padding=1),
        nn.SiLU(),
        zero_conv(hidden, out),
    )
