"""The multi-resolution hash encoding of Instant-NGP (Mueller et al., arXiv:2201.05989), in plain PyTorch."""

import torch
from torch import Tensor, nn

from tunemv3d_core.rendering.precision import full_precision

PRIMES = (1, 2_654_435_761, 805_459_861)
"""What the hash multiplies x, y and z by before it combines them by exclusive or (the paper's Eq. 4)."""

INITIAL = 1e-4
"""Largest entry at the start, as in the paper: the grid says nothing yet."""


class HashGrid(nn.Module):
    """Learned features of points: on each level those of the 8 corners of a point's cell, trilinearly.

    Args:
        cells: along each side, for each level.
        log2_entries: each level has a table of 2 to this power entries.
        channels: of an entry.
    """

    cells: Tensor
    factors: Tensor

    def __init__(self, cells: list[int], log2_entries: int, channels: int) -> None:
        super().__init__()
        self.channels = len(cells) * channels
        self.register_buffer("cells", torch.tensor(cells)[:, None, None, None], persistent=False)
        by_level = torch.tensor([factors(n, log2_entries) for n in cells])
        self.register_buffer("factors", by_level[..., None, None], persistent=False)
        self.tables = nn.Parameter(torch.empty(len(cells), 2**log2_entries, channels).uniform_(-INITIAL, INITIAL))

    def forward(self, points: Tensor) -> Tensor:
        """Look up points ``b p 3`` of the cube [0, 1]^3 as ``b p channels``; beyond it its surface counts."""
        levels, entries, _ = self.tables.shape
        with full_precision(points):
            places = points.clamp(0, 1).movedim(-1, 0) * self.cells  # l 3 b p
            low = torch.minimum(places.floor(), self.cells - 1)
            beyond = places - low
            x, y, z = (torch.stack([low, low + 1]).long() * self.factors).unbind(2)  # 2 l b p, a cell's two sides
            entry = (x[:, None, None] ^ y[:, None] ^ z) & (entries - 1)  # 2 2 2 l b p, its eight corners
            entry = entry + entries * torch.arange(levels, device=points.device)[:, None, None]
            x, y, z = torch.stack([1 - beyond, beyond]).unbind(2)
            weights = x[:, None, None] * y[:, None] * z
            found = self.tables.flatten(0, 1).index_select(0, entry.flatten()).reshape(*entry.shape, -1)
            return (weights[..., None] * found).sum((0, 1, 2)).movedim(0, -2).flatten(-2)


def factors(cells: int, log2_entries: int) -> tuple[int, int, int]:
    """Return what a level multiplies x, y and z by: primes, or powers of two where every corner has its own entry.

    With a stride that is a power of two no bits of x, y and z meet, so that "exclusive or" is a sum, and small grids
    are stored without collisions.
    """
    bits = cells.bit_length()  # corners are counted from 0 to cells
    return (1, 2**bits, 4**bits) if 3 * bits <= log2_entries else PRIMES


def geometric(coarsest: int, finest: int, levels: int) -> list[int]:
    """Return the cells of levels that grow geometrically (the paper's Eqs. 2 and 3, rounded)."""
    return [round(coarsest * (finest / coarsest) ** (level / max(levels - 1, 1))) for level in range(levels)]
