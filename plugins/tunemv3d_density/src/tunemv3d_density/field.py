"""The field ``density`` and its scene."""

import torch
from torch import Tensor, nn

from tunemv3d_core.assemble import build_component
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import PortsError
from tunemv3d_core.ports import BuildContext, FieldPorts, Neighbours
from tunemv3d_core.rendering.precision import full_precision, result_dtype
from tunemv3d_core.rendering.rays import RayBundle, cull_rays, points_per_chunk
from tunemv3d_core.rendering.volume import MIN_OPACITY, RayOutputs, composite_density, sample_along_rays
from tunemv3d_core.slots import Aggregator
from tunemv3d_core.types import Rendering
from tunemv3d_density.network import DensityNetwork
from tunemv3d_density.spec import DensitySpec


def build(spec: DensitySpec, neighbours: Neighbours, context: BuildContext) -> "DensityField":
    """Build the field for the view encoder's features and the backbone's latents. Its parameters stay float32.

    Raises:
        PortsError: there is no view encoder.
    """
    if neighbours.view_encoder is None:
        raise PortsError("field 'density' needs features: the model has no view_encoder")
    features = neighbours.view_encoder.features
    values = neighbours.backbone.latent_channels if spec.values is None else spec.values
    aggregator = build_component("aggregator", spec.aggregator, features)
    ports = FieldPorts(features=features, gives=spec.gives, values=values)
    return DensityField(spec, ports, aggregator).to(context.device)


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
    """The density and values that n views agreed on: a ``Scene`` without a surface."""

    def __init__(self, field: DensityField, features: Tensor, cameras: Cameras, time: Tensor) -> None:
        self._aggregator, self._network = field.aggregator, field.network
        self._options, self._jitter = field.spec, field.training
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
        options = self._options
        kept = cull_rays(cameras, size, pixels, options.radius)
        seen = kept.rays.map_chunks(self._march, max(1, self._at_once() // options.samples))
        falls = self._normals(kept.rays.points(seen.depth[..., None])[:, :, 0], seen.opacity) if normals else None
        return kept.rendering(seen, result_dtype(self._features), falls)

    def density(self, points: Tensor) -> Tensor:
        """``b p 3`` in world units to ``b p``, float32, one a world unit. Always evaluated in full precision."""
        with full_precision(points):
            parts = torch.split(points.float(), self._at_once(), dim=1)
            return torch.cat([self._evaluate(part)[0] for part in parts], dim=1)

    def losses(self) -> dict[str, Tensor]:
        """None: a density has no distance that eikonal or sparsity terms could be taken of."""
        return {}

    def _march(self, rays: RayBundle) -> RayOutputs:
        """Look once into each of a ray's sections."""
        ends = sample_along_rays(rays.nears, rays.fars, self._options.samples + 1, self._jitter)
        depths, unit_lengths = (ends[..., 1:] + ends[..., :-1]) / 2, rays.directions.norm(dim=-1, keepdim=True)
        points, shape = rays.points(depths).flatten(1, 2), depths.shape[1:]
        density, hidden, aggregated = self._evaluate(points)
        hidden, aggregated = (torch.unflatten(z, 1, shape) for z in (hidden, aggregated))
        values = self._network.values(hidden, aggregated, rays.directions / unit_lengths)
        with full_precision(depths):
            density = torch.unflatten(density, 1, shape)
            return composite_density(density, values.float(), depths, ends.diff(dim=-1) * unit_lengths)

    def _evaluate(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Densities ``b p`` at ``b p 3``, with the trunk's features and the aggregated ones, ``b p ...``."""
        aggregated = self._aggregator(self._features, self._cameras, points)
        hidden = self._network.trunk(points, aggregated, self._time)
        return self._network.density_at(points, hidden, aggregated), hidden, aggregated

    def _normals(self, points: Tensor, opacity: Tensor) -> Tensor:
        """Unit vectors ``b r 3`` along which the density falls at the rays' mean points; zero where nothing was hit."""
        steps = torch.eye(3, device=points.device) * self._options.fd_eps
        moved = points[:, :, None, None] + torch.stack([steps, -steps])
        ahead, behind = torch.unflatten(self.density(moved.flatten(1, 3)), 1, (-1, 2, 3)).unbind(2)
        fall = behind - ahead
        normals = fall / fall.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        return torch.where((opacity > MIN_OPACITY)[..., None], normals, torch.zeros_like(normals))

    def _at_once(self) -> int:
        return points_per_chunk(self._features, self._options.chunk_size)
