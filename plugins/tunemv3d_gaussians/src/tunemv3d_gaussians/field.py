"""The field ``gaussians``: every pixel of every view becomes one 3D Gaussian (after DiffSplat)."""

import math

import torch
from torch import Tensor, nn

from tunemv3d_core.assemble import build_component
from tunemv3d_core.cameras import Cameras, Rays
from tunemv3d_core.ports import BuildContext, FieldPorts, Neighbours
from tunemv3d_core.rendering.build import field_ports
from tunemv3d_core.rendering.encoding import plucker_coordinates
from tunemv3d_core.rendering.precision import full_precision
from tunemv3d_core.rendering.rays import CulledRays, RayBundle, cull_rays, points_per_chunk
from tunemv3d_core.rendering.volume import MIN_OPACITY, RayOutputs, composite_density, sample_along_rays
from tunemv3d_core.slots import Aggregator
from tunemv3d_gaussians.network import GaussianNetwork
from tunemv3d_gaussians.scene import GaussianScene
from tunemv3d_gaussians.spec import GaussiansSpec
from tunemv3d_gaussians.splat import Gaussians, in_pixels

CHUNK_SIZE = 262144
"""Most points at which the views are sampled at once where no gradient is kept."""

MAX_LOG_SCALE = math.log(4.0)
"""Largest change of a Gaussian's standard deviations from their start, as a logarithm."""

OPACITY_GAIN, OPACITY_OFFSET = 4.0, -2.0
"""Factor of the learned part of the Gaussians' opacity logits, which span more than values do; and what is added to
the logits, because the Gaussians of all views lie on top of each other."""


def build(spec: GaussiansSpec, neighbours: Neighbours, context: BuildContext) -> "GaussiansField":
    """Build the field for the view encoder's features and the backbone's latents. Its parameters stay float32.

    Raises:
        PortsError: there is no view encoder.
    """
    ports = field_ports(spec.type, neighbours)
    aggregator = build_component("aggregator", spec.aggregator, ports.features)
    return GaussiansField(spec, ports, aggregator).to(context.device)


class GaussiansField(nn.Module):
    """Turns features of n views into ``n h w`` Gaussians (``tunemv3d_core.slots.Field``)."""

    def __init__(self, spec: GaussiansSpec, ports: FieldPorts, aggregator: Aggregator) -> None:
        super().__init__()
        self.spec, self.ports, self.aggregator = spec, ports, aggregator
        self.network = GaussianNetwork(spec, ports.features, aggregator.channels, ports.values)

    def fuse(self, features: Tensor, cameras: Cameras, t: Tensor) -> GaussianScene:
        """Fuse views.

        Args:
            features: ``b n f h w``.
            cameras: ``b n``.
            t: ``b``, the noise level of each object's views.
        """
        cameras, size = cameras.to(torch.float32), (features.shape[-2], features.shape[-1])
        time = self.network.embed(t)
        culled = cull_rays(cameras, size, radius=self.spec.radius)
        outputs = self._render_aggregated(culled.rays, features, cameras, time)
        with full_precision(features):
            rays = cameras.rays(size)
            opacity = culled.as_maps(outputs.opacity[..., None])
            depth, step = _depth_maps(culled, outputs, self.spec.depths)
            # The mean of the aggregated features where the surface seems to be.
            aggregated = culled.as_maps(outputs.values) / opacity.clamp(min=0.1)
            inputs, plucker = torch.cat([features.float(), aggregated], dim=2), plucker_coordinates(rays, size)
        maps = self.network.head(inputs, plucker, time)
        with full_precision(features):
            opacity = opacity * culled.as_maps(culled.rays.valid[..., None].float())
            gaussians, means = _gaussians(maps, opacity, depth, step, rays, cameras, self.spec.scale)
        return GaussianScene(gaussians, means, cameras, size, self.spec, features)

    def _render_aggregated(self, rays: RayBundle, features: Tensor, cameras: Cameras, time: Tensor) -> RayOutputs:
        """Composite the aggregated features, opacity and depth along each pixel's ray."""

        def render(rays: RayBundle) -> RayOutputs:
            edges = sample_along_rays(rays.nears, rays.fars, self.spec.depths + 1, self.training)
            depths = (edges[..., 1:] + edges[..., :-1]) / 2
            points = rays.points(depths).flatten(1, 2)
            aggregated = self.aggregator(features, cameras, points).float()
            density = torch.unflatten(self.network.density(points, aggregated, time), 1, depths.shape[1:])
            with full_precision(features):
                deltas = edges.diff(dim=-1) * rays.directions.norm(dim=-1, keepdim=True)
                return composite_density(density, torch.unflatten(aggregated, 1, depths.shape[1:]), depths, deltas)

        return rays.map_chunks(render, max(1, points_per_chunk(features, CHUNK_SIZE) // self.spec.depths))


def _depth_maps(culled: CulledRays, outputs: RayOutputs, depths: int) -> tuple[Tensor, Tensor]:
    """Return depth of the surface along each pixel's ray and the most it may be corrected by, ``b n 1 h w``."""
    near, far = culled.rays.nears, culled.rays.fars
    depth = torch.where(outputs.opacity > MIN_OPACITY, outputs.depth, (near + far) / 2)
    return culled.as_maps(depth[..., None]), culled.as_maps(((far - near) / depths)[..., None])


def _gaussians(
    maps: tuple[Tensor, ...],
    opacity: Tensor,
    depth: Tensor,
    step: Tensor,
    rays: Rays,
    cameras: Cameras,
    scale: float,
) -> tuple[Gaussians, Tensor]:
    """Make the Gaussians that the head's maps describe, view by view, and their means as maps ``b n 3 h w``."""
    size = (opacity.shape[-2], opacity.shape[-1])
    values, logit_change, depth_change, scales, quaternion = (z.flatten(3).mT for z in maps)
    opacity, depth, step = (z.flatten(3).mT for z in (opacity, depth, step))
    depth = depth + step * depth_change.tanh()
    means = rays.origins + depth * rays.directions
    focal = cameras.intrinsics[..., :2] * in_pixels(size, cameras.intrinsics)
    pixel = depth / focal.prod(-1).sqrt()[..., None, None]
    deviations = scale * pixel * (MAX_LOG_SCALE * scales.tanh()).exp()
    axes = cameras.camera_to_world[..., None, :3, :3] @ _rotations(quaternion) * deviations[..., None, :]
    logits = torch.logit(opacity, eps=1e-5) + OPACITY_GAIN * logit_change + OPACITY_OFFSET
    gaussians = Gaussians(
        means.flatten(1, 2),
        axes.flatten(1, 2),
        (logits.sigmoid() * (opacity > 0)).flatten(1, 3),
        values.flatten(1, 2),
    )
    return gaussians, torch.unflatten(means.mT, -1, size)


def _rotations(change: Tensor) -> Tensor:
    """Return rotations ``... 3 3`` of the quaternions (w, x, y, z) ``(1, 0, 0, 0) + change``, change ``... 4``."""
    quaternion = torch.cat([change[..., :1] + 1, change[..., 1:]], dim=-1)
    w, x, y, z = torch.nn.functional.normalize(quaternion, dim=-1).unbind(-1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], dim=-1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], dim=-1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], dim=-1),
    ]
    return torch.stack(rows, dim=-2)
