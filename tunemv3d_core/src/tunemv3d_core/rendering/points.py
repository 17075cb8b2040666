"""Points of the space that holds an object: drawn from a ball, and the cell centres of a grid."""

import torch
from torch import Tensor


def sample_ball(objects: int, count: int, radius: float, device: torch.device) -> Tensor:
    """Draw points evenly from a ball around the origin, ``b p 3``, world units."""
    directions = torch.randn(objects, count, 3, device=device)
    directions = directions / directions.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    distances = radius * torch.rand(objects, count, 1, device=device).pow(1 / 3)
    return torch.mul(directions, distances)


def cell_centres(cells: int, radius: float, device: torch.device) -> Tensor:
    """Return the cell centres of the cube [-radius, radius]^3, ``(x y z) 3``, world units; ``cells`` on each side."""
    centres = ((torch.arange(cells, device=device) + 0.5) / cells * 2 - 1) * radius
    return torch.stack(torch.meshgrid(centres, centres, centres, indexing="ij"), dim=-1).flatten(0, 2)
