"""The field ``epipolar`` and its scene."""

import torch
from torch import Tensor, nn

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.ports import BuildContext, FieldPorts, Neighbours
from tunemv3d_core.rendering.build import field_ports
from tunemv3d_core.rendering.precision import full_precision, result_dtype
from tunemv3d_core.rendering.rays import RayBundle, cull_rays, points_per_chunk
from tunemv3d_core.rendering.view_features import sample_view_features
from tunemv3d_core.rendering.volume import RayOutputs, composite_density, sample_along_rays
from tunemv3d_core.types import Rendering
from tunemv3d_epipolar.network import EpipolarNetwork
from tunemv3d_epipolar.spec import EpipolarSpec

MOST_RAYS = 2**15
"""Rays of all objects that attend at once: kernels of attention take at most 65,535 sequences."""


def build(spec: EpipolarSpec, neighbours: Neighbours, context: BuildContext) -> "EpipolarField":
    """Build the field for the view encoder's features; a model without one is refused by ``PortsError``."""
    return EpipolarField(spec, field_ports(spec.type, neighbours, spec.gives, spec.values)).to(context.device)


class EpipolarField(nn.Module):
    """Looks the views up along each ray, when it is rendered."""

    def __init__(self, spec: EpipolarSpec, ports: FieldPorts) -> None:
        super().__init__()
        self.spec, self.ports = spec, ports
        self.network = EpipolarNetwork(spec, ports.features, ports.values)

    def fuse(self, features: Tensor, cameras: Cameras, t: Tensor) -> "EpipolarScene":
        """Keep the views.

        Args:
            features: ``b n f h w``.
            cameras: ``b n``.
            t: ``b``, the noise level of each object's views.
        """
        return EpipolarScene(self, features, cameras.to(torch.float32), t)


class EpipolarScene:
    """One density, and values of each ray: a ``Scene`` without a surface."""

    def __init__(self, field: EpipolarField, features: Tensor, cameras: Cameras, t: Tensor) -> None:
        self._network, self._spec, self._jitter = field.network, field.spec, field.training
        self._features, self._cameras, self._t = features, cameras, t

    def render(
        self, cameras: Cameras, size: tuple[int, int], pixels: Tensor | None = None, normals: bool = False
    ) -> Rendering:
        """Render.

        Args:
            cameras: ``b m``.
            size: (h, w) of the maps.
            pixels: ``b m r 2``, (x, y) as fractions of the image: render these alone.
            normals: not used; there are none.

        Returns:
            Maps ``b m ... h w``, or ``b m ... r`` at pixels.
        """
        culled = cull_rays(cameras, size, pixels, self._spec.radius)
        rays = points_per_chunk(self._features, self._spec.chunk_size) // self._spec.samples
        rays = max(1, min(rays, MOST_RAYS // len(self._features)))
        return culled.rendering(culled.rays.map_chunks(self._render_rays, rays), result_dtype(self._features))

    def losses(self) -> dict[str, Tensor]:
        """Return none."""
        return {}

    def _render_rays(self, rays: RayBundle) -> RayOutputs:
        """Evaluate each interval of a ray at its midpoint and composite them."""
        edges = sample_along_rays(rays.nears, rays.fars, self._spec.samples + 1, self._jitter)
        depths, norms = (edges[..., 1:] + edges[..., :-1]) / 2, rays.directions.norm(dim=-1, keepdim=True)
        points = rays.points(depths)
        views = sample_view_features(self._features, self._cameras, points.flatten(1, 2))
        density, values = self._network(points, rays.directions / norms, views, self._t)
        with full_precision(depths):
            return composite_density(density, values.float(), depths, edges.diff(dim=-1) * norms)
