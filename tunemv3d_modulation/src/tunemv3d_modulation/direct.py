"""The lifter ``direct``: the field renders high-dimensional features itself, without x0 and without O (paper D)."""

import torch.nn.functional as F
from torch import Tensor, nn

from tunemv3d_core.errors import PortsError
from tunemv3d_core.ports import BuildContext, LifterPorts, MapPort, Neighbours
from tunemv3d_core.types import Text
from tunemv3d_modulation.spec import DirectSpec


def build(spec: DirectSpec, neighbours: Neighbours, context: BuildContext) -> "Direct":
    """Build the lifter for as many channels as the field renders.

    Raises:
        PortsError: no field.
    """
    if neighbours.field is None:
        raise PortsError("lifter 'direct' needs a field: its maps are what the field renders")
    return Direct(neighbours.field.values, neighbours.backbone.residuals)


class Direct(nn.Module):
    """Rendered features as L maps of the same channels (``tunemv3d_core.slots.Lifter``). It learns nothing.

    Args:
        values: channels v of the features.
        residuals: the maps that the backbone wants, for their strides.
    """

    def __init__(self, values: int, residuals: tuple[MapPort, ...]) -> None:
        super().__init__()
        maps = tuple(MapPort(values, residual.stride) for residual in residuals)
        self.ports = LifterPorts(takes="features", values=values, maps=maps)

    def forward(self, values: Tensor, x_t: Tensor, t: Tensor, text: Text) -> tuple[Tensor, ...]:
        """Average ``b n v h w`` over the latent cells that each map's cell spans: L maps ``(b n) v h_k w_k``.

        Sizes round up, as a UNet's downsampling does.
        """
        flat = values.flatten(0, 1)
        strides = {m.stride for m in self.ports.maps}
        shrunk = {stride: F.avg_pool2d(flat, stride, ceil_mode=True) for stride in strides}
        return tuple(shrunk[m.stride] for m in self.ports.maps)
