"""A refined shape: can be kept in a file, rendered, and meshed."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from tunemv3d_core.cameras import Cameras, Rays
from tunemv3d_core.errors import SampleError
from tunemv3d_core.io.json_files import check_plain
from tunemv3d_core.io.samples import write_file
from tunemv3d_core.rendering.volume import MIN_OPACITY, RayOutputs
from tunemv3d_core.slots import Pictures
from tunemv3d_shape.refinement.grid import Grid, render_rays

REFINED = "refined.safetensors"

_RAYS_AT_ONCE = 4096


@dataclass(frozen=True)
class RefinedShape:
    """A grid, with the inv_s and the picture size that it was fitted with.

    Attributes:
        grid: signed distance and colours.
        inv_s: NeuS's s.
        size: (H, W) of pictures.
    """

    grid: Grid
    inv_s: float
    size: tuple[int, int]

    @torch.no_grad()
    def signed_distance(self, points: Tensor) -> Tensor:
        """``1 p 3`` to ``1 p``."""
        return self.grid.distance(points[0].to(self.grid.distances.device))[None]

    @torch.no_grad()
    def render(self, camera: Cameras) -> RayOutputs:
        """Render one camera (no batch axes), row by row."""
        rays = camera.to(self.grid.distances.device).rays(self.size)
        chunks = zip(torch.split(rays.origins, _RAYS_AT_ONCE), torch.split(rays.directions, _RAYS_AT_ONCE), strict=True)
        parts = [render_rays(self.grid, Rays(*chunk), self.inv_s) for chunk in chunks]
        return RayOutputs(*(torch.cat([getattr(p, name) for p in parts]) for name in ("values", "opacity", "depth")))

    def pictures(self, cameras: Cameras) -> Pictures:
        """Render cameras ``m``."""
        seen = [self.render(cameras[i]) for i in range(cameras.shape[0])]
        opacity = torch.unflatten(torch.stack([s.opacity for s in seen]), -1, self.size).cpu()
        mixed = torch.unflatten(torch.stack([s.values for s in seen]).mT, -1, self.size).cpu()
        return Pictures((mixed / opacity[:, None].clamp(min=MIN_OPACITY)).clamp(0, 1), opacity, cameras.to("cpu"))


def write_refined(folder: Path, shape: RefinedShape) -> None:
    """Write ``refined.safetensors``.

    Raises:
        SampleError: it cannot be written.
    """
    grid = shape.grid
    tensors = {
        "distances": grid.distances.detach().reshape((grid.side,) * 3),
        "colours": grid.colours.detach().reshape(*(grid.side,) * 3, 3).half(),
        "inv_s": torch.tensor(shape.inv_s),
        "size": torch.tensor(shape.size),
    }
    write_file(folder / REFINED, save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}))


def read_refined(folder: Path) -> RefinedShape:
    """Read ``refined.safetensors``.

    Raises:
        SampleError: missing or damaged.
    """
    try:
        check_plain(folder / REFINED)
        tensors = load_file(folder / REFINED)
        grid = Grid(tensors["distances"].float(), tensors["colours"].float())
        height, width = tensors["size"].tolist()
        return RefinedShape(grid, float(tensors["inv_s"]), (height, width))
    except (OSError, SafetensorError) as error:
        raise SampleError(f"{folder / REFINED}: cannot be read: {error}; refine the object again") from None
    except KeyError as error:
        raise SampleError(f"{folder / REFINED}: holds no {error}; refine the object again") from None
