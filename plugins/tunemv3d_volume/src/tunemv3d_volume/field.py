"""The field ``volume`` and its scene."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.layers import zero_init
from tunemv3d_core.ports import BuildContext, FieldPorts, Neighbours
from tunemv3d_core.rendering.build import build_field
from tunemv3d_core.rendering.points import cell_centres
from tunemv3d_core.rendering.precision import full_precision, result_dtype
from tunemv3d_core.rendering.rays import points_per_chunk
from tunemv3d_core.rendering.sdf_scene import SDFScene
from tunemv3d_core.rendering.view_features import sample_view_features
from tunemv3d_core.slots import Aggregator
from tunemv3d_core.types import Rendering
from tunemv3d_volume.blend import ViewBlend
from tunemv3d_volume.network import VolumeNetwork
from tunemv3d_volume.spec import VolumeSpec


def build(spec: VolumeSpec, neighbours: Neighbours, context: BuildContext) -> "VolumeField":
    """Build the field, as ``build_field``."""
    return build_field(VolumeField, spec, spec.aggregator, neighbours, context)


class VolumeField(nn.Module):
    """Fuses features of n views into a volume.

    ``variance`` is NeuS's v of s = exp(10 v), the inverse width of the surface; weight decay should leave it alone.
    """

    def __init__(self, spec: VolumeSpec, ports: FieldPorts, aggregator: Aggregator) -> None:
        super().__init__()
        self.ports = ports
        self.spec = spec
        self.aggregator = aggregator
        self.network = VolumeNetwork(spec, aggregator.channels, ports.values)
        self.blend = ViewBlend(ports.features, spec.blend_hidden)
        self.value_blended = zero_init(nn.Linear(ports.features, ports.values, bias=False))
        self.variance = nn.Parameter(torch.tensor(spec.variance))

    def fuse(self, features: Tensor, cameras: Cameras, t: Tensor) -> "VolumeScene":
        """Fuse views.

        Args:
            features: ``b n f h w``.
            cameras: ``b n``.
            t: ``b``, the noise level of each object's views.
        """
        cameras = cameras.to(torch.float32)
        grid = cell_centres(self.spec.cells, self.spec.radius, features.device).expand(len(features), -1, -1)
        volume = self.network(self.aggregator(features, cameras, grid), t)
        return VolumeScene(self, volume, features, cameras)


class VolumeSDF:
    """The signed distance and values that a volume holds (an ``SDF``)."""

    def __init__(self, network: VolumeNetwork, volume: Tensor) -> None:
        self._network, self._volume = network, volume

    def query(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Return signed distances ``b r s`` and values ``b r s v`` at points ``b r s 3``; directions do not matter."""
        sdf, values = self._network.decode(self._volume, points.flatten(1, 2))
        return torch.unflatten(sdf, 1, points.shape[1:3]), torch.unflatten(values, 1, points.shape[1:3])

    def signed_distance(self, points: Tensor) -> Tensor:
        """Return signed distances ``b p`` at points ``b p 3``."""
        return self._network.decode(self._volume, points)[0]


class VolumeScene:
    """A ``Scene`` that has a surface: rendered from the volume alone, with the views sampled once per ray.

    Blended view features are added at the mean point of what a ray hit, weighted by the ray's opacity.
    """

    def __init__(self, field: VolumeField, volume: Tensor, features: Tensor, cameras: Cameras) -> None:
        self._field, self._features, self._cameras = field, features, cameras
        sdf = VolumeSDF(field.network, volume)
        self._sdf_scene = SDFScene(sdf, field.variance, field.spec, features, jitter=field.training)

    def render(
        self, cameras: Cameras, size: tuple[int, int], pixels: Tensor | None = None, normals: bool = False
    ) -> Rendering:
        """Render, as ``SDFScene.render``."""
        rendering = self._sdf_scene.render(cameras, size, pixels, normals)
        with full_precision(self._features):
            rays = cameras.to(torch.float32).rays(size, None if pixels is None else pixels.float())
            depth = rendering.depth.reshape(rays.directions.shape[:-1])
            points = (rays.origins + depth[..., None] * rays.directions).flatten(1, 2)
            unit = (rays.directions / rays.directions.norm(dim=-1, keepdim=True)).flatten(1, 2)
        chunk = points_per_chunk(self._features, self._field.spec.chunk_size)
        chunks = zip(torch.split(points, chunk, dim=1), torch.split(unit, chunk, dim=1), strict=True)
        blended = torch.cat([self._blended_values(*each) for each in chunks], dim=1)
        blended = torch.unflatten(blended, 1, depth.shape[1:]).mT.reshape(rendering.values.shape)
        values = rendering.values + rendering.opacity.unsqueeze(2) * blended
        return replace(rendering, values=values.to(result_dtype(self._features)))

    def _blended_values(self, points: Tensor, directions: Tensor) -> Tensor:
        """Blend the views' features at points ``b p 3`` on rays of unit directions ``b p 3``, as values ``b p v``."""
        blended = self._field.blend(sample_view_features(self._features, self._cameras, points), directions)
        values: Tensor = self._field.value_blended(blended)
        return values

    def signed_distance(self, points: Tensor) -> Tensor:
        """Return ``b p``, float32, negative inside, at points ``b p 3``, world units. Always in full precision."""
        return self._sdf_scene.signed_distance(points)

    def losses(self) -> dict[str, Tensor]:
        """Return the surface's regularisers, as ``SDFScene.losses``."""
        return self._sdf_scene.losses()
