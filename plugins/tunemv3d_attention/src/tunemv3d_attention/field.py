"""The field ``attention``: views exchange features by attention, with no 3D between them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tunemv3d_attention.network import AttentionNetwork
from tunemv3d_attention.spec import AttentionFieldSpec
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import CameraError
from tunemv3d_core.ports import BuildContext, FieldPorts, Neighbours
from tunemv3d_core.rendering.build import field_ports
from tunemv3d_core.rendering.encoding import plucker_coordinates
from tunemv3d_core.rendering.precision import full_precision, result_dtype
from tunemv3d_core.types import Rendering

INITIAL_LOGIT = -2.0
"""Logit of the opacity at the start, nearly clear: the values are zero, so the views are white."""

CAMERA_TOLERANCE = 1e-5
"""Cameras whose matrices and intrinsics differ by less are the same."""


def build(spec: AttentionFieldSpec, neighbours: Neighbours, context: BuildContext) -> "AttentionField":
    """Build the field for the view encoder's features and the backbone's latents. Its parameters stay float32.

    Raises:
        PortsError: there is no view encoder.
    """
    return AttentionField(spec, field_ports(spec.type, neighbours, novel_views=False)).to(context.device)


class AttentionField(nn.Module):
    """Fuses n views into the same n views (``tunemv3d_core.slots.Field``). It renders no others."""

    def __init__(self, spec: AttentionFieldSpec, ports: FieldPorts) -> None:
        super().__init__()
        self.ports = ports
        self.network = AttentionNetwork(spec, ports.features, ports.values)

    def fuse(self, features: Tensor, cameras: Cameras, t: Tensor) -> "InputViews":
        """Fuse views.

        Args:
            features: ``b n f h w``.
            cameras: ``b n``.
            t: ``b``, the noise level of each object's views.
        """
        with full_precision(features):
            size = (features.shape[-2], features.shape[-1])
            rays = plucker_coordinates(cameras.to(torch.float32).rays(size), size)
        maps = self.network(features.float(), rays, t)
        opacity = torch.sigmoid(maps[:, :, -1] + INITIAL_LOGIT)
        return InputViews(maps[:, :, :-1], opacity, cameras, result_dtype(features))


class InputViews:
    """A ``Scene`` of the input views, which renders those and no others.

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
        """Render input cameras, in any order and number.

        Args:
            cameras: ``b m``.
            size: (h, w); another than the features' is interpolated.
            pixels: ``b m r 2``, (x, y) as fractions of the image: interpolate there.
            normals: not used; there are none.

        Returns:
            Maps ``b m ... h w``, or ``b m ... r`` at pixels. Depth is 0: this field knows no geometry.

        Raises:
            CameraError: a camera is no input camera.
        """
        maps = self._maps_of(cameras)
        with full_precision(maps):
            if pixels is not None:
                grid = (pixels.float() * 2 - 1).flatten(0, 1)[:, None]
                samples = F.grid_sample(maps.flatten(0, 1), grid, padding_mode="border", align_corners=False)
                maps = torch.unflatten(samples[:, :, 0], 0, maps.shape[:2])
            elif maps.shape[-2:] != size:
                maps = torch.unflatten(F.interpolate(maps.flatten(0, 1), size, mode="bilinear"), 0, maps.shape[:2])
        values, opacity = maps[:, :, :-1].to(self._dtype), maps[:, :, -1].to(self._dtype)
        return Rendering(values, opacity, torch.zeros_like(opacity, dtype=torch.float32))

    def losses(self) -> dict[str, Tensor]:
        """Return none."""
        return {}

    def _maps_of(self, cameras: Cameras) -> Tensor:
        """Return the maps of cameras; comparing other than the input cameras themselves waits for the device."""
        own = self._cameras
        if cameras is own:
            return self._maps
        inputs, wanted = (torch.cat([c.camera_to_world.flatten(2), c.intrinsics], dim=-1) for c in (own, cameras))
        same = (wanted[:, :, None] - inputs[:, None].to(wanted)).abs().amax(-1) < CAMERA_TOLERANCE
        if not bool(same.any(-1).all()):
            missing = int((~same.any(-1)).nonzero()[0, 1])
            raise CameraError(
                f"field 'attention' has no 3D and renders only its {own.shape[1]} input cameras; camera "
                f"{missing} is none of them. For novel views, turntables and meshes take a field such as 'neus'"
            )
        index = same.byte().argmax(-1)[:, :, None, None, None]
        return self._maps.gather(1, index.expand(-1, -1, *self._maps.shape[2:]))
