"""The interaction field ``neus`` (paper B.1): merges what all views say into a surface with values and renders it."""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tunemv3d_core.assemble import build_component
from tunemv3d_core.cameras import Cameras, intersect_sphere
from tunemv3d_core.errors import PortsError
from tunemv3d_core.ports import BuildContext, FieldPorts, Neighbours
from tunemv3d_core.slots import Aggregator
from tunemv3d_core.types import Rendering
from tunemv3d_neus.network import NeuSNetwork
from tunemv3d_neus.precision import full_precision, result_dtype
from tunemv3d_neus.spec import NeuSSpec
from tunemv3d_neus.volume import NOTHING, Composite, composite, section_ends, surface_depths

CPU_CHUNK = 8192
"""Points evaluated at once on a CPU, so that the network's intermediate results stay in the cache."""


def build(spec: NeuSSpec, neighbours: Neighbours, context: BuildContext) -> "NeuSField":
    """Build the field for the view encoder's features and the backbone's latents. Its parameters stay float32."""
    if neighbours.view_encoder is None:
        raise PortsError("field 'neus' needs features: the model has no view_encoder")
    features = neighbours.view_encoder.features
    values = neighbours.backbone.latent_channels if spec.values is None else spec.values
    aggregator = build_component("aggregator", spec.aggregator, features)
    ports = FieldPorts(features=features, gives=spec.gives, values=values)
    return NeuSField(spec, ports, aggregator).to(context.device)


class NeuSField(nn.Module):
    """Fuses features of n views into a ``NeuSScene``.

    ``sharpness`` is v of s = exp(10 v), the inverse width of the surface; weight decay should leave it alone.
    """

    def __init__(self, spec: NeuSSpec, ports: FieldPorts, aggregator: Aggregator) -> None:
        super().__init__()
        self.spec = spec
        self.ports = ports
        self.aggregator = aggregator
        self.network = NeuSNetwork(spec, aggregator.channels, ports.values)
        self.sharpness = nn.Parameter(torch.tensor(spec.sharpness))

    def fuse(self, features: Tensor, cameras: Cameras, t: Tensor) -> "NeuSScene":
        """Fuse views.

        Args:
            features: ``b n f h w``.
            cameras: ``b n``.
            t: ``b``, the noise level of each object's views.
        """
        return NeuSScene(self, features, cameras.to(torch.float32), self.network.embed(t))


class NeuSScene:
    """A surface with values that n views agreed on; a ``Scene`` that has a surface."""

    def __init__(self, field: NeuSField, features: Tensor, cameras: Cameras, time: Tensor) -> None:
        self._field = field
        self._spec = field.spec
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
            normals: whether to render normals as well: zero where nothing was hit.

        Returns:
            Maps ``b m ... h w``, or ``b m ... r`` at pixels. Depth is that of the mean point of what the ray hit.
        """
        views = cameras.shape[1]
        with full_precision(self._features):
            rays = cameras.to(torch.float32).rays(size, None if pixels is None else pixels.float())
            near, far, hit = (z.flatten(1) for z in intersect_sphere(rays, self._spec.radius))
        origins, directions = rays.origins.flatten(1, 2), rays.directions.flatten(1, 2)
        kept = _worth_rendering(hit)
        if kept is not None:
            near, far, hit = (z.gather(1, kept) for z in (near, far, hit))
            origins, directions = (z.gather(1, kept[..., None].expand(-1, -1, 3)) for z in (origins, directions))
        seen = self._march(origins, directions, near, far, hit)
        surface = self._normals(origins + seen.depth[..., None] * directions, seen.opacity) if normals else None

        def as_maps(z: Tensor) -> Tensor:
            """``b k c`` of the kept rays to ``b m c h w`` or ``b m c r``."""
            if kept is not None:
                z = z.new_zeros(z.shape[0], rays.origins.shape[1] * rays.origins.shape[2], z.shape[2]).scatter(
                    1, kept[..., None].expand(-1, -1, z.shape[2]), z
                )
            z = torch.unflatten(z, 1, (views, -1)).mT
            return z if pixels is not None else torch.unflatten(z, -1, size)

        dtype = result_dtype(self._features)
        return Rendering(
            as_maps(seen.values).to(dtype),
            as_maps(seen.opacity[..., None]).squeeze(2).to(dtype),
            as_maps(seen.depth[..., None]).squeeze(2),
            None if surface is None else as_maps(surface),
        )

    def signed_distance(self, points: Tensor) -> Tensor:
        """``b p 3`` in world units to ``b p``, float32: negative inside. Always evaluated in full precision."""
        with full_precision(points):
            chunks = torch.split(points.float(), self._chunk(points.shape[0]), dim=1)
            parts = [self._distance(chunk) for chunk in chunks]
        return torch.cat(parts, dim=1)

    def losses(self) -> dict[str, Tensor]:
        """The field's regularisers, by finite differences of the signed distance f.

        eikonal: mean of (|grad f| - 1)^2 at those of random points of the sphere that lie nearest to the surface.
        sparsity: mean of exp(-tau |f|) at random points of the sphere (SparseNeuS): surface only where needed.
        """
        spec, b = self._spec, self._features.shape[0]
        points = _ball_points(b, 4 * spec.eikonal_points, spec.radius, self._features.device)
        distances = self.signed_distance(points)
        nearest = distances.detach().abs().topk(spec.eikonal_points, dim=1, largest=False).indices
        gradient = self._gradient(points.gather(1, nearest[..., None].expand(-1, -1, 3)))
        return {
            "eikonal": (gradient.norm(dim=-1) - 1).square().mean(),
            "sparsity": torch.exp(-spec.sparsity_scale * distances.abs()).mean(),
        }

    def _march(self, origins: Tensor, directions: Tensor, near: Tensor, far: Tensor, hit: Tensor) -> Composite:
        """Evaluate and composite rays ``b r`` in chunks; a ray that misses the sphere has opacity 0."""
        step = max(1, self._chunk(origins.shape[0]) // (self._spec.samples + self._spec.fine_samples))
        parts = [
            self._march_kept(*chunk)
            for chunk in zip(*(torch.split(z, step, dim=1) for z in (origins, directions, near, far, hit)), strict=True)
        ]
        return Composite(
            torch.cat([part.values for part in parts], dim=1),
            torch.cat([part.opacity for part in parts], dim=1),
            torch.cat([part.depth for part in parts], dim=1),
        )

    def _march_kept(self, *rays: Tensor) -> Composite:
        """``_march_chunk``, whose intermediate results the backward pass finds or, as the spec says, makes anew."""
        if not (self._spec.recompute and torch.is_grad_enabled()):
            return self._march_chunk(*rays)
        seen: Composite = checkpoint(self._march_chunk, *rays, use_reentrant=False)
        return seen

    def _march_chunk(self, origins: Tensor, directions: Tensor, near: Tensor, far: Tensor, hit: Tensor) -> Composite:
        spec, jitter = self._spec, self._field.training
        depths = section_ends(near, far, spec.samples, jitter)
        distances, values = self._look(origins, directions, depths, hit)
        with full_precision(origins):
            sharpness = (10 * self._field.sharpness).exp().clamp(1e-6, 1e6)
        if spec.fine_samples:
            with torch.no_grad(), full_precision(origins):
                lengths = depths.diff(dim=-1) * directions.norm(dim=-1, keepdim=True)
                fine = surface_depths(distances, depths, lengths, sharpness, spec.fine_samples, jitter)
            more = self._look(origins, directions, fine, hit)
            depths, order = torch.cat([depths, fine], dim=-1).sort(dim=-1)
            distances = torch.cat([distances, more[0]], dim=-1).gather(-1, order)
            values = torch.cat([values, more[1]], dim=-2)
            values = values.gather(-2, order[..., None].expand_as(values))
        with full_precision(origins):
            return composite(distances, values, depths, sharpness)

    def _look(self, origins: Tensor, directions: Tensor, depths: Tensor, hit: Tensor) -> tuple[Tensor, Tensor]:
        """Signed distances ``b r s`` and values ``b r s v`` at depths ``b r s`` of rays ``b r``, float32."""
        network, samples = self._field.network, depths.shape[-1]
        points = (origins[:, :, None] + depths[..., None] * directions[:, :, None]).flatten(1, 2)
        aggregated = self._field.aggregator(self._features, self._cameras, points)
        hidden = network.trunk(points, aggregated, self._time)
        distances = torch.unflatten(network.signed_distance(points, hidden, aggregated), 1, (-1, samples))
        unit = directions / directions.norm(dim=-1, keepdim=True)
        along_rays = torch.unflatten(hidden, 1, (-1, samples)), torch.unflatten(aggregated, 1, (-1, samples))
        values = network.values(*along_rays, unit)
        # Constant along rays that miss, so that they stay empty.
        return torch.where(hit[..., None], distances, 1.0), values.float()

    def _distance(self, points: Tensor) -> Tensor:
        network = self._field.network
        aggregated = self._field.aggregator(self._features, self._cameras, points)
        return network.signed_distance(points, network.trunk(points, aggregated, self._time), aggregated)

    def _gradient(self, points: Tensor) -> Tensor:
        """Central differences of the signed distance at ``b p 3``."""
        steps = torch.eye(3, device=points.device) * self._spec.difference
        moved = points[:, :, None, None] + torch.stack([steps, -steps])
        distances = torch.unflatten(self.signed_distance(moved.flatten(1, 3)), 1, (-1, 2, 3))
        ahead, behind = distances.unbind(2)
        return (ahead - behind) / (2 * self._spec.difference)

    def _normals(self, points: Tensor, opacity: Tensor) -> Tensor:
        """Outward unit normals ``b r 3`` at the rays' surface points; zero where nothing was hit."""
        gradient = self._gradient(points)
        normals = gradient / gradient.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        return torch.where((opacity > NOTHING)[..., None], normals, torch.zeros_like(normals))

    def _chunk(self, objects: int) -> int:
        """Points of each object that are evaluated at once."""
        if self._features.device.type == "cpu":
            limit = min(CPU_CHUNK, self._spec.chunk)
        else:
            kept = torch.is_grad_enabled() and not self._spec.recompute
            limit = 2**62 if kept else self._spec.chunk
        return max(1, limit // objects)


def _worth_rendering(hit: Tensor) -> Tensor | None:
    """Indices ``b k`` of the rays that hit the sphere (``b r``), padded with others to the same k for every object.

    None stands for all rays: on an accelerator a training step has static shapes and never waits for the device, so
    that it can be captured as a CUDA graph; elsewhere rays that miss cost nothing.
    """
    if hit.device.type != "cpu" and (torch.is_grad_enabled() or torch.cuda.is_current_stream_capturing()):
        return None
    most = max(1, int(hit.sum(1).amax()))
    return hit.byte().sort(dim=1, descending=True, stable=True).indices[:, :most]


def _ball_points(objects: int, count: int, radius: float, device: torch.device) -> Tensor:
    """Points drawn evenly from a ball, ``b p 3``."""
    directions = torch.randn(objects, count, 3, device=device)
    directions = directions / directions.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    distances = radius * torch.rand(objects, count, 1, device=device).pow(1 / 3)
    return torch.mul(directions, distances)
