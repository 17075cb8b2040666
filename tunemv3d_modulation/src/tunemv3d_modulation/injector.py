"""The injector ``zero-conv``: one 1x1 convolution per map, weight and bias zero at the start (paper B.2, Eq. 2)."""

from torch import Tensor, nn

from tunemv3d_core.errors import PortsError
from tunemv3d_core.layers import zero_init
from tunemv3d_core.ports import BuildContext, InjectorPorts, Neighbours
from tunemv3d_core.types import Skips
from tunemv3d_modulation.spec import ZeroConvSpec


def build(spec: ZeroConvSpec, neighbours: Neighbours, context: BuildContext) -> "ZeroConv":
    """Build one zero convolution for each map between the lifter and the backbone.

    Raises:
        PortsError: no lifter, or maps of other sizes than the backbone's residuals.
    """
    if neighbours.lifter is None:
        raise PortsError("injector 'zero-conv' needs a lifter: it has no maps to inject")
    ports = InjectorPorts(maps=neighbours.lifter.maps, residuals=neighbours.backbone.residuals)
    return ZeroConv(ports).to(context.device, context.dtype)


def zero_conv(channels: int, out: int) -> nn.Conv2d:
    """Make a 1x1 convolution that gives exact zeros until its first update."""
    return zero_init(nn.Conv2d(channels, out, 1))


class ZeroConv(nn.Module):
    """Turns lifted maps into residuals, all zero at the start (``tunemv3d_core.slots.Injector``).

    Args:
        ports: the maps given and the residuals wanted; pairs must agree in stride.

    Raises:
        PortsError: another number of maps than residuals, or a pair of different strides.
    """

    def __init__(self, ports: InjectorPorts) -> None:
        super().__init__()
        given, wanted = [m.stride for m in ports.maps], [m.stride for m in ports.residuals]
        if given != wanted:
            raise PortsError(
                f"injector 'zero-conv': the lifter gives maps of strides {given}, the backbone wants {wanted}"
            )
        self.ports = ports
        self.convs = nn.ModuleList(
            zero_conv(m.channels, r.channels) for m, r in zip(ports.maps, ports.residuals, strict=True)
        )

    def forward(self, maps: tuple[Tensor, ...], skips: Skips) -> tuple[Tensor, ...]:
        """Turn L maps ``(b n) c_k h_k w_k`` into L residuals of the skips' shapes."""
        return tuple(conv(m) for conv, m in zip(self.convs, maps, strict=True))
