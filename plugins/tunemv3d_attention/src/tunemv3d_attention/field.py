"""The field ``attention``: views exchange what they show by attention, with no 3D between them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tunemv3d_attention.network import AttentionNetwork
from tunemv3d_attention.spec import AttentionFieldSpec
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import CameraError, PortsError
from tunemv3d_core.ports import BuildContext, FieldPorts, Neighbours
from tunemv3d_core.rendering.precision import full_precision, result_dtype
from tunemv3d_core.types import Rendering

START = -2.0
"""Logit of the opacity at the start, nearly clear: the values are zero, so the views are white."""

SAME = 1e-5
"""Cameras whose numbers differ by less are the same."""


def build(spec: AttentionFieldSpec, neighbours: Neighbours, context: BuildContext) -> "AttentionField":
    """Build the field for the view encoder's features and the backbone's latents. Its parameters stay float32.

    Raises:
        PortsError: there is no view encoder.
    """
    if neighbours.view_encoder is None:
        raise PortsError("field 'attention' needs features: the model has no view_encoder")
    features, values = neighbours.view_encoder.features, neighbours.backbone.latent_channels
    return AttentionField(spec, FieldPorts(features, "latents", values, novel_views=False)).to(context.device)


class AttentionField(nn.Module):
    """Fuses n views into the same n views (``tunemv3d_core.slots.Field``). It knows of no others."""

    def __init__(self, spec: AttentionFieldSpec, ports: FieldPorts) -> None:
        super().__init__()
        self.ports = ports
        self.network = AttentionNetwork(spec, ports.features, ports.values)

    def fuse(self, features: Tensor, cameras: Cameras, t: Tensor) -> "SeenViews":
        """Fuse views.

        Args:
            features: ``b n f h w``.
            cameras: ``b n``.
            t: ``b``, the noise level of each object's views.
        """
        with full_precision(features):
            rays = plucker(cameras.to(torch.float32), (features.shape[-2], features.shape[-1]))
        maps = self.network(features.float(), rays, t)
        opacity = torch.sigmoid(maps[:, :, -1] + START)
        return SeenViews(maps[:, :, :-1], opacity, cameras, result_dtype(features))


class SeenViews:
    """A ``Scene`` that can be looked at from where it was seen, and from nowhere else.

    Args:
        values: ``b n v h w``, without a background.
        opacity: ``b n h w``.
        cameras: ``b n``.
        dtype: of the renderings' values and opacity.
    """

    def __init__(self, values: Tensor, opacity: Tensor, cameras: Cameras, dtype: torch.dtype) -> None:
        self._maps = torch.cat([values, opacity[:, :, None]], dim=2)
        self._cameras, self._dtype = cameras, dtype

    def render(
        self, cameras: Cameras, size: tuple[int, int], pixels: Tensor | None = None, normals: bool = False
    ) -> Rendering:
        """The views of cameras that were seen, in any order and number.

        Args:
            cameras: ``b m``.
            size: (h, w); another than the features' is interpolated.
            pixels: ``b m r 2``, (x, y) as fractions of the image: interpolate there.
            normals: there are none.

        Returns:
            Maps ``b m ... h w``, or ``b m ... r`` at pixels. Depth is 0: this field knows no geometry.

        Raises:
            CameraError: a camera was not seen.
        """
        maps = self._of(cameras)
        with full_precision(maps):
            if pixels is not None:
                grid = (pixels.float() * 2 - 1).flatten(0, 1)[:, None]
                found = F.grid_sample(maps.flatten(0, 1), grid, padding_mode="border", align_corners=False)
                maps = torch.unflatten(found[:, :, 0], 0, maps.shape[:2])
            elif maps.shape[-2:] != size:
                maps = torch.unflatten(F.interpolate(maps.flatten(0, 1), size, mode="bilinear"), 0, maps.shape[:2])
        values, opacity = maps[:, :, :-1].to(self._dtype), maps[:, :, -1].to(self._dtype)
        return Rendering(values, opacity, torch.zeros_like(opacity, dtype=torch.float32))

    def losses(self) -> dict[str, Tensor]:
        """None."""
        return {}

    def _of(self, cameras: Cameras) -> Tensor:
        """The maps of given cameras. Only those that are not the very ones that were seen wait for the device."""
        own = self._cameras
        if cameras is own:
            return self._maps
        known, asked = (torch.cat([c.camera_to_world.flatten(2), c.intrinsics], dim=-1) for c in (own, cameras))
        same = (asked[:, :, None] - known[:, None].to(asked)).abs().amax(-1) < SAME
        if not bool(same.any(-1).all()):
            missing = int((~same.any(-1)).nonzero()[0, 1])
            raise CameraError(
                f"field 'attention' has no 3D and renders only the {own.shape[1]} cameras that it saw; camera "
                f"{missing} is another. For novel views, turntables and meshes take a field such as 'neus'"
            )
        index = same.byte().argmax(-1)[:, :, None, None, None]
        return self._maps.gather(1, index.expand(-1, -1, *self._maps.shape[2:]))


def plucker(cameras: Cameras, size: tuple[int, int]) -> Tensor:
    """Pluecker coordinates (direction, moment) of the rays through an (h, w) map's cells: ``b n 6 h w``."""
    rays = cameras.rays(size)
    unit = rays.directions / rays.directions.norm(dim=-1, keepdim=True)
    both = torch.cat([unit, torch.linalg.cross(rays.origins, unit)], dim=-1)
    return torch.unflatten(both.mT, -1, size)
