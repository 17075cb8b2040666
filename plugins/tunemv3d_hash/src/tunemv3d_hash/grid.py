"""The multi-resolution hash encoding of Instant-NGP (Mueller et al., arXiv:2201.05989), in plain PyTorch."""

import torch
import torch.nn.functional as F
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
        self.register_buffer("cells", torch.tensor(cells)[:, None], persistent=False)
        self.register_buffer("factors", torch.tensor([factors(n, log2_entries) for n in cells]), persistent=False)
        self.tables = nn.Parameter(torch.empty(len(cells), 2**log2_entries, channels).uniform_(-INITIAL, INITIAL))

    def forward(self, points: Tensor) -> Tensor:
        """Look up points ``b p 3`` of the cube [0, 1]^3 as ``b p channels``; beyond it its surface counts."""
        levels, entries, _ = self.tables.shape
        with full_precision(points):
            places = points.clamp(0, 1)[..., None, :] * self.cells  # b p l 3
            low = torch.minimum(places.floor(), self.cells - 1)
            high_share = places - low
            shares = torch.stack([1 - high_share, high_share], dim=-1)  # b p l 3 2
            corners = torch.stack([low, low + 1], dim=-1).long() * self.factors[..., None]
            x, y, z = corners.unbind(-2)
            entry = (x[..., :, None, None] ^ y[..., None, :, None] ^ z[..., None, None, :]) & (entries - 1)
            entry = entry + entries * torch.arange(levels, device=points.device)[:, None, None, None]
            weights = torch.einsum("...i,...j,...k->...ijk", *shares.unbind(-2)).flatten(-3)  # b p l 8
            features = F.embedding(entry.flatten(-3), self.tables.flatten(0, 1))  # b p l 8 c
            return (weights[..., None, :] @ features).flatten(-3)


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
