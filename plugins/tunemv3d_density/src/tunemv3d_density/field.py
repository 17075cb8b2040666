"""The field ``density`` and its scene."""

import torch
from torch import Tensor, nn

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.ports import BuildContext, FieldPorts, Neighbours
from tunemv3d_core.rendering.build import build_field
from tunemv3d_core.rendering.precision import full_precision, result_dtype
from tunemv3d_core.rendering.rays import RayBundle, cull_rays, points_per_chunk
from tunemv3d_core.rendering.volume import MIN_OPACITY, RayOutputs, composite_density, sample_along_rays
from tunemv3d_core.slots import Aggregator
from tunemv3d_core.types import Rendering
from tunemv3d_density.network import DensityNetwork
from tunemv3d_density.spec import DensitySpec


def build(spec: DensitySpec, neighbours: Neighbours, context: BuildContext) -> "DensityField":
    """Build the field, as ``build_field``."""
    return build_field(DensityField, spec, spec.aggregator, neighbours, context)


class DensityField(nn.Module):
    """Fuses features of n views into a density."""

    def __init__(self, spec: DensitySpec, ports: FieldPorts, aggregator: Aggregator) -> None:
        super().__init__()
        self.ports = ports
        self.spec = spec
        self.aggregator = aggregator
        self.network = DensityNetwork(spec, aggregator.channels, ports.values)

    def fuse(self, features: Tensor, cameras: Cameras, t: Tensor) -> "DensityScene":
        """Fuse views.

        Args:
            features: ``b n f h w``.
            cameras: ``b n``.
            t: ``b``, the noise level of each object's views.
        """
        return DensityScene(self, features, cameras.to(torch.float32), self.network.embed(t))


class DensityScene:
    """A density and values, from features that are aggregated at every point: a ``Scene`` without a surface."""

    def __init__(self, field: DensityField, features: Tensor, cameras: Cameras, time: Tensor) -> None:
        self._aggregator, self._network = field.aggregator, field.network
        self._spec, self._jitter = field.spec, field.training
        self._features = features
        self._cameras = cameras
        self._time = time

    def render(
        self, cameras: Cameras, size: tuple[int, int], pixels: Tensor | None = None, normals: bool = False
    ) -> Rendering:
        """Render.

        Args:
            cameras: ``b m``.
            size: (h, w) of the maps.
            pixels: ``b m r 2``, (x, y) as fractions of the image: render these alone.
            normals: whether to render normals as well, those of the density at the mean point of what a ray hit: zero
                where nothing was hit.

        Returns:
            Maps ``b m ... h w``, or ``b m ... r`` at pixels.
        """
        culled = cull_rays(cameras, size, pixels, self._spec.radius)
        rays_per_chunk = max(1, self._points_per_chunk() // self._spec.samples)
        outputs = culled.rays.map_chunks(self._render_rays, rays_per_chunk)
        mean_normals = None
        if normals:
            mean_normals = self._normals(culled.rays.points(outputs.depth[..., None])[:, :, 0], outputs.opacity)
        return culled.rendering(outputs, result_dtype(self._features), mean_normals)

    def density(self, points: Tensor) -> Tensor:
        """Return ``b p``, float32, per world unit, at points ``b p 3``, world units. Always in full precision."""
        with full_precision(points):
            chunks = torch.split(points.float(), self._points_per_chunk(), dim=1)
            return torch.cat([self._evaluate(chunk)[0] for chunk in chunks], dim=1)

    def losses(self) -> dict[str, Tensor]:
        """Return none: eikonal and sparsity terms need a signed distance."""
        return {}

    def _render_rays(self, rays: RayBundle) -> RayOutputs:
        """Evaluate each interval of a ray at its midpoint and composite them."""
        edges = sample_along_rays(rays.nears, rays.fars, self._spec.samples + 1, self._jitter)
        depths, norms = (edges[..., 1:] + edges[..., :-1]) / 2, rays.directions.norm(dim=-1, keepdim=True)
        points, shape = rays.points(depths).flatten(1, 2), depths.shape[1:]
        density, hidden, aggregated = self._evaluate(points)
        hidden, aggregated = (torch.unflatten(z, 1, shape) for z in (hidden, aggregated))
        values = self._network.values(hidden, aggregated, rays.directions / norms)
        with full_precision(depths):
            density = torch.unflatten(density, 1, shape)
            return composite_density(density, values.float(), depths, edges.diff(dim=-1) * norms)

    def _evaluate(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return densities ``b p`` at ``b p 3``, the trunk's features and the aggregated ones, ``b p ...``."""
        aggregated = self._aggregator(self._features, self._cameras, points)
        hidden = self._network.trunk(points, aggregated, self._time)
        return self._network.density_at(points, hidden, aggregated), hidden, aggregated

    def _normals(self, points: Tensor, opacity: Tensor) -> Tensor:
        """Return unit vectors ``b r 3`` along which density falls at points ``b r 3``; zero where nothing was hit."""
        steps = torch.eye(3, device=points.device) * self._spec.fd_eps
        moved = points[:, :, None, None] + torch.stack([steps, -steps])
        ahead, behind = torch.unflatten(self.density(moved.flatten(1, 3)), 1, (-1, 2, 3)).unbind(2)
        descent = behind - ahead
        normals = descent / descent.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        return torch.where((opacity > MIN_OPACITY)[..., None], normals, torch.zeros_like(normals))

    def _points_per_chunk(self) -> int:
        return points_per_chunk(self._features, self._spec.chunk_size)
