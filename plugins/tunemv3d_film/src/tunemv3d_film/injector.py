"""The injector ``film``: the lifted map scales and shifts each cell of a skip (FiLM, SFT)."""

from torch import Tensor, nn

from tunemv3d_core.errors import PortsError
from tunemv3d_core.layers import zero_init
from tunemv3d_core.ports import BuildContext, InjectorPorts, Neighbours
from tunemv3d_core.types import Skips
from tunemv3d_film.spec import FiLMSpec


def build(spec: FiLMSpec, neighbours: Neighbours, context: BuildContext) -> "FiLM":
    """Build one modulation for each map between the lifter and the backbone.

    Raises:
        PortsError: no lifter, or maps of other sizes than the backbone's residuals.
    """
    if neighbours.lifter is None:
        raise PortsError("injector 'film' needs a lifter: it has no maps to inject")
    ports = InjectorPorts(maps=neighbours.lifter.maps, residuals=neighbours.backbone.residuals)
    return FiLM(ports).to(context.device, context.dtype)


class FiLM(nn.Module):
    """Residuals ``gamma * skip + beta``, all zero at the start (``tunemv3d_core.slots.Injector``).

    The decoder then sees ``(1 + gamma) * skip + beta``.

    Args:
        ports: the maps given and the residuals wanted; pairs must agree in stride.

    Raises:
        PortsError: another number of maps than residuals, or a pair of different strides.
    """

    def __init__(self, ports: InjectorPorts) -> None:
        super().__init__()
        given, wanted = [m.stride for m in ports.maps], [m.stride for m in ports.residuals]
        if given != wanted:
            raise PortsError(f"injector 'film': the lifter gives maps of strides {given}, the backbone wants {wanted}")
        self.ports = ports
        pairs = list(zip(ports.maps, ports.residuals, strict=True))
        self.gammas = nn.ModuleList(zero_init(nn.Conv2d(m.channels, r.channels, 1)) for m, r in pairs)
        self.betas = nn.ModuleList(zero_init(nn.Conv2d(m.channels, r.channels, 1)) for m, r in pairs)

    def forward(self, maps: tuple[Tensor, ...], skips: Skips) -> tuple[Tensor, ...]:
        """Map L maps ``(b n) c_k h_k w_k`` to L residuals of the skips' shapes."""
        each = zip(self.gammas, self.betas, maps, skips.maps, strict=True)
        return tuple(gamma(m) * skip + beta(m) for gamma, beta, m, skip in each)
