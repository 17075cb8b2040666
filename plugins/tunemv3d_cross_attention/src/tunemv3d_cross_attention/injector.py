"""The injector ``cross-attention``: the cells of a skip attend to the lifted map of their own view."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tunemv3d_core.cameras import pixel_centres
from tunemv3d_core.errors import PortsError
from tunemv3d_core.layers import zero_init
from tunemv3d_core.ports import BuildContext, InjectorPorts, MapPort, Neighbours
from tunemv3d_core.types import Skips
from tunemv3d_cross_attention.spec import CrossAttentionSpec

FIRST_WIDTH = 0.5
"""Standard deviation s of the first head's weights, cells of the lifted map."""


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
        """Map L maps ``(b n) c_k h_k w_k`` to L residuals of the skips' shapes."""
        return tuple(layer(m, skip) for layer, m, skip in zip(self.layers, maps, skips.maps, strict=True))


class MapAttention(nn.Module):
    """Attention to one map: queries from the skip, keys and values from the lifted map, nearby cells first.

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
        self.out = zero_init(nn.Linear(width, wanted.channels))

    def forward(self, lifted: Tensor, skip: Tensor) -> Tensor:
        """Map a lifted map ``(b n) c h w`` and a skip ``(b n) c' h' w'`` to a residual like the skip."""
        size = (min(lifted.shape[-2], self.cells), min(lifted.shape[-1], self.cells))
        if lifted.shape[-2:] != size:
            lifted = F.adaptive_avg_pool2d(lifted, size)
        cells = lifted.flatten(2).mT
        query = self.query(self.norm_skip(skip.flatten(2).mT.to(self.query.weight.dtype)))
        key, value = self.key(self.norm_map(cells)), self.value(cells)
        query, key, value = (z.unflatten(-1, (self.heads, -1)).transpose(1, 2) for z in (query, key, value))
        bias = distance_bias((skip.shape[-2], skip.shape[-1]), size, self.heads, skip.device).to(query.dtype)
        heads = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        residual: Tensor = torch.unflatten(self.out(heads.transpose(1, 2).flatten(2)).mT, -1, skip.shape[-2:])
        return residual


def distance_bias(queries: tuple[int, int], keys: tuple[int, int], heads: int, device: torch.device) -> Tensor:
    """Return what is added to the logits between the cells of two maps of sizes (h, w): ``heads (h' w') (h w)``.

    It is ``-distance^2 / (2 s^2)``, with distances in cells of the map that is attended to.
    """
    offsets = pixel_centres(queries, device)[:, None] - pixel_centres(keys, device)
    squared = (offsets[..., 0] * keys[1]).square() + (offsets[..., 1] * keys[0]).square()
    widths = FIRST_WIDTH * 2.0 ** torch.arange(heads, device=device)
    return -squared / (2 * widths.square()[:, None, None])
