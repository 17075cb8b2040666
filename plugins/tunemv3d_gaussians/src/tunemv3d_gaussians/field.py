"""The field ``gaussians``: every pixel of every view becomes one 3D Gaussian (after DiffSplat)."""

import math

import torch
from torch import Tensor, nn

from tunemv3d_core.cameras import Cameras, Rays
from tunemv3d_core.errors import PortsError
from tunemv3d_core.ports import BuildContext, FieldPorts, Neighbours
from tunemv3d_core.rendering.precision import full_precision
from tunemv3d_core.rendering.rays import CulledRays, RayBundle, cull_rays, points_per_chunk
from tunemv3d_core.rendering.volume import MIN_OPACITY, RayOutputs, composite_density, sample_along_rays
from tunemv3d_gaussians.head import GaussianNetwork
from tunemv3d_gaussians.scene import GaussianScene
from tunemv3d_gaussians.spec import GaussiansSpec
from tunemv3d_gaussians.splat import Gaussians, in_pixels
from tunemv3d_gaussians.views import ask_views

POINTS = 262144
"""Most points of which the views are asked at once where no gradient is kept."""

SPREAD = math.log(4.0)
"""How far a Gaussian's standard deviations may leave their start, as logarithms."""

GAIN, OFFSET = 4.0, -2.0
"""Of what is learned in the logits of the Gaussians' opacities, which span more than values do; and added to them,
because the Gaussians of all views lie on top of each other."""


def build(spec: GaussiansSpec, neighbours: Neighbours, context: BuildContext) -> "GaussiansField":
    """Build the field for the view encoder's features and the backbone's latents. Its parameters stay float32.

    Raises:
        PortsError: there is no view encoder.
    """
    if neighbours.view_encoder is None:
        raise PortsError("field 'gaussians' needs features: the model has no view_encoder")
    ports = FieldPorts(neighbours.view_encoder.features, "latents", neighbours.backbone.latent_channels)
    return GaussiansField(spec, ports).to(context.device)


class GaussiansField(nn.Module):
    """Turns features of n views into ``n h w`` Gaussians (``tunemv3d_core.slots.Field``)."""

    def __init__(self, spec: GaussiansSpec, ports: FieldPorts) -> None:
        super().__init__()
        self.spec, self.ports = spec, ports
        self.network = GaussianNetwork(spec, ports.features, ports.values)

    def fuse(self, features: Tensor, cameras: Cameras, t: Tensor) -> GaussianScene:
        """Fuse views.

        Args:
            features: ``b n f h w``.
            cameras: ``b n``.
            t: ``b``, the noise level of each object's views.
        """
        cameras, size = cameras.to(torch.float32), (features.shape[-2], features.shape[-1])
        time = self.network.embed(t)
        kept = cull_rays(cameras, size, radius=self.spec.radius)
        seen = self._look_along(kept.rays, features, cameras, time)
        with full_precision(features):
            rays = cameras.rays(size)
            opaque, behind = kept.as_maps(seen.opacity[..., None]), _depth_maps(kept, seen, self.spec.depths)
            # The mean of what the views say where the surface seems to be.
            said = kept.as_maps(seen.values) / opaque.clamp(min=0.1)
            told, plucker = torch.cat([features.float(), said], dim=2), _plucker(rays, size)
        shape = self.network.head(told, plucker, time)
        with full_precision(features):
            hit = kept.as_maps(kept.rays.valid[..., None].float())
            gaussians, points = _gaussians(shape, opaque * hit, behind, rays, cameras, self.spec.scale)
        return GaussianScene(gaussians, points, cameras, size, self.spec, features)

    def _look_along(self, rays: RayBundle, features: Tensor, cameras: Cameras, time: Tensor) -> RayOutputs:
        """What the views say along each pixel's ray, as far as it is not hidden: mean, opacity and depth."""

        def look(rays: RayBundle) -> RayOutputs:
            ends = sample_along_rays(rays.nears, rays.fars, self.spec.depths + 1, self.training)
            middles = (ends[..., 1:] + ends[..., :-1]) / 2
            points = rays.points(middles).flatten(1, 2)
            with full_precision(features):
                said = ask_views(features.float(), cameras, points)
            density = torch.unflatten(self.network.density(points, said, time), 1, middles.shape[1:])
            with full_precision(features):
                lengths = ends.diff(dim=-1) * rays.directions.norm(dim=-1, keepdim=True)
                said = torch.unflatten(said, 1, middles.shape[1:])
                return composite_density(density, said, middles, lengths)

        return rays.map_chunks(look, max(1, points_per_chunk(features, POINTS) // self.spec.depths))


def _depth_maps(kept: CulledRays, seen: RayOutputs, depths: int) -> tuple[Tensor, Tensor]:
    """Depth of the surface along each pixel's ray, and by how much it may be corrected, ``b n 1 h w``."""
    near, far = kept.rays.nears, kept.rays.fars
    depth = torch.where(seen.opacity > MIN_OPACITY, seen.depth, (near + far) / 2)
    return kept.as_maps(depth[..., None]), kept.as_maps(((far - near) / depths)[..., None])


def _plucker(rays: Rays, size: tuple[int, int]) -> Tensor:
    """Pluecker coordinates (direction, moment) of rays ``b n (h w)``: ``b n 6 h w``."""
    unit = rays.directions / rays.directions.norm(dim=-1, keepdim=True)
    both = torch.cat([unit, torch.linalg.cross(rays.origins, unit)], dim=-1)
    return torch.unflatten(both.mT, -1, size)


def _gaussians(
    shape: tuple[Tensor, ...],
    opaque: Tensor,
    behind: tuple[Tensor, Tensor],
    rays: Rays,
    cameras: Cameras,
    scale: float,
) -> tuple[Gaussians, Tensor]:
    """The Gaussians that the head's maps describe, view by view, and their means as maps ``b n 3 h w``."""
    size = (opaque.shape[-2], opaque.shape[-1])
    values, opacity, depth, scales, quaternion = (z.flatten(3).mT for z in shape)
    opaque, start, reach = (z.flatten(3).mT for z in (opaque, *behind))
    depth = start + reach * depth.tanh()
    means = rays.origins + depth * rays.directions
    focal = cameras.intrinsics[..., :2] * in_pixels(size, cameras.intrinsics)
    pixel = depth / focal.prod(-1).sqrt()[..., None, None]
    deviations = scale * pixel * (SPREAD * scales.tanh()).exp()
    axes = cameras.camera_to_world[..., None, :3, :3] @ _rotations(quaternion) * deviations[..., None, :]
    logits = torch.logit(opaque, eps=1e-5) + GAIN * opacity + OFFSET
    gaussians = Gaussians(
        means.flatten(1, 2),
        axes.flatten(1, 2),
        (logits.sigmoid() * (opaque > 0)).flatten(1, 3),
        values.flatten(1, 2),
    )
    return gaussians, torch.unflatten(means.mT, -1, size)


def _rotations(change: Tensor) -> Tensor:
    """Rotation matrices ``... 3 3`` of quaternions (w, x, y, z) that differ by ``change`` (``... 4``) from none."""
    turn = torch.cat([change[..., :1] + 1, change[..., 1:]], dim=-1)
    w, x, y, z = torch.nn.functional.normalize(turn, dim=-1).unbind(-1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], dim=-1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], dim=-1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], dim=-1),
    ]
    return torch.stack(rows, dim=-2)
