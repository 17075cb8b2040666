"""The injector ``cross-attention``: the cells of a skip ask the lifted map of their own view what belongs there."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tunemv3d_core.cameras import pixel_centres
from tunemv3d_core.errors import PortsError
from tunemv3d_core.ports import BuildContext, InjectorPorts, MapPort, Neighbours
from tunemv3d_core.types import Skips
from tunemv3d_cross_attention.spec import CrossAttentionSpec

NEAREST = 0.5
"""How far around the first head looks: the standard deviation of its weights, cells of the lifted map."""


def build(spec: CrossAttentionSpec, neighbours: Neighbours, context: BuildContext) -> "CrossAttention":
    """Build one attention for each map between the lifter and the backbone.

    Raises:
        PortsError: no lifter, or another number of maps than the backbone's residuals.
    """
    if neighbours.lifter is None:
        raise PortsError("injector 'cross-attention' needs a lifter: it has no maps to inject")
    ports = InjectorPorts(maps=neighbours.lifter.maps, residuals=neighbours.backbone.residuals)
    return CrossAttention(spec, ports).to(context.device, context.dtype)


class CrossAttention(nn.Module):
    """Residuals from attention to the lifted maps, all zero at the start (``tunemv3d_core.slots.Injector``).

    Args:
        spec: heads and bounds.
        ports: the maps given and the residuals wanted; their strides may differ.

    Raises:
        PortsError: another number of maps than residuals.
    """

    def __init__(self, spec: CrossAttentionSpec, ports: InjectorPorts) -> None:
        super().__init__()
        given, wanted = len(ports.maps), len(ports.residuals)
        if given != wanted:
            raise PortsError(f"injector 'cross-attention': the lifter gives {given} maps, the backbone wants {wanted}")
        self.ports = ports
        pairs = zip(ports.maps, ports.residuals, strict=True)
        self.layers = nn.ModuleList(MapAttention(spec, m, r) for m, r in pairs)

    def forward(self, maps: tuple[Tensor, ...], skips: Skips) -> tuple[Tensor, ...]:
        """L maps ``(b n) c_k h_k w_k`` to L residuals of the skips' shapes."""
        return tuple(layer(m, skip) for layer, m, skip in zip(self.layers, maps, skips.maps, strict=True))


class MapAttention(nn.Module):
    """One map's: queries from the skip, keys and values from the lifted map, nearby cells first.

    A cell's weights are the softmax of ``q k / sqrt(d) - distance^2 / (2 s^2)``, with s doubling from head to head: at
    the start the lifted map reaches the skip where it belongs, as through a zero convolution.
    """

    def __init__(self, spec: CrossAttentionSpec, given: MapPort, wanted: MapPort) -> None:
        super().__init__()
        width = spec.heads * spec.head_channels
        self.heads, self.cells = spec.heads, spec.cells
        self.norm_skip, self.norm_map = nn.LayerNorm(wanted.channels), nn.LayerNorm(given.channels)
        self.query = nn.Linear(wanted.channels, width, bias=False)
        self.key = nn.Linear(given.channels, width, bias=False)
        self.value = nn.Linear(given.channels, width, bias=False)
        self.out = nn.Linear(width, wanted.channels)
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, lifted: Tensor, skip: Tensor) -> Tensor:
        """Lifted ``(b n) c h w`` and the skip ``(b n) c' h' w'`` to a residual like the skip."""
        size = (min(lifted.shape[-2], self.cells), min(lifted.shape[-1], self.cells))
        if lifted.shape[-2:] != size:
            lifted = F.adaptive_avg_pool2d(lifted, size)
        asking, told = skip.flatten(2).mT, lifted.flatten(2).mT
        asking = self.query(self.norm_skip(asking.to(self.query.weight.dtype)))
        key, value = self.key(self.norm_map(told)), self.value(told)
        query, key, value = (z.unflatten(-1, (self.heads, -1)).transpose(1, 2) for z in (asking, key, value))
        near = nearness((skip.shape[-2], skip.shape[-1]), size, self.heads, skip.device).to(query.dtype)
        heads = F.scaled_dot_product_attention(query, key, value, attn_mask=near)
        residual: Tensor = torch.unflatten(self.out(heads.transpose(1, 2).flatten(2)).mT, -1, skip.shape[-2:])
        return residual


def nearness(asking: tuple[int, int], told: tuple[int, int], heads: int, device: torch.device) -> Tensor:
    """What distance takes from the logits between the cells of two maps of sizes (h, w), ``heads (h' w') (h w)``.

    Distances are in cells of the map that is attended to.
    """
    away = pixel_centres(asking, device)[:, None] - pixel_centres(told, device)
    squared = (away[..., 0] * told[1]).square() + (away[..., 1] * told[0]).square()
    reach = NEAREST * 2.0 ** torch.arange(heads, device=device)
    return -squared / (2 * reach.square()[:, None, None])
