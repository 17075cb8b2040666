"""The field ``volume`` and its scene."""

from dataclasses import fields, replace

import torch
from torch import Tensor, nn

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import PortsError
from tunemv3d_core.ports import BuildContext, FieldPorts, Neighbours
from tunemv3d_core.rendering.precision import full_precision, result_dtype
from tunemv3d_core.rendering.rays import points_per_chunk
from tunemv3d_core.rendering.sdf_scene import SDFOptions, SDFScene
from tunemv3d_core.types import Rendering
from tunemv3d_volume.network import VolumeNetwork
from tunemv3d_volume.spec import VolumeSpec
from tunemv3d_volume.views import Blend, sample_view_features


def build(spec: VolumeSpec, neighbours: Neighbours, context: BuildContext) -> "VolumeField":
    """Build the field for the view encoder's features and the backbone's latents. Its parameters stay float32.

    Raises:
        PortsError: there is no view encoder.
    """
    if neighbours.view_encoder is None:
        raise PortsError("field 'volume' needs features: the model has no view_encoder")
    features = neighbours.view_encoder.features
    values = neighbours.backbone.latent_channels if spec.values is None else spec.values
    ports = FieldPorts(features=features, gives=spec.gives, values=values)
    return VolumeField(spec, ports).to(context.device)


class VolumeField(nn.Module):
    """Fuses features of n views into a volume.

    ``variance`` is NeuS's v of s = exp(10 v), the inverse width of the surface; weight decay should leave it alone.
    """

    def __init__(self, spec: VolumeSpec, ports: FieldPorts) -> None:
        super().__init__()
        self.ports = ports
        self.options = SDFOptions(**{option.name: getattr(spec, option.name) for option in fields(SDFOptions)})
        self.network = VolumeNetwork(spec, 2 * ports.features + 1, ports.values)
        self.blend = Blend(ports.features, spec.blend_hidden)
        self.value_blended = nn.Linear(ports.features, ports.values, bias=False)
        nn.init.zeros_(self.value_blended.weight)
        self.variance = nn.Parameter(torch.tensor(spec.variance))

    def fuse(self, features: Tensor, cameras: Cameras, t: Tensor) -> "VolumeScene":
        """Fuse views.

        Args:
            features: ``b n f h w``.
            cameras: ``b n``.
            t: ``b``, the noise level of each object's views.
        """
        grid = self.network.grid(features.device).expand(len(features), -1, -1)
        volume = self.network.make(sample_view_features(features, cameras, grid).summary(), t)
        return VolumeScene(self, volume, features, cameras)


class StoredSurface:
    """The signed distance and values that a volume holds: a ``Surface``."""

    def __init__(self, network: VolumeNetwork, volume: Tensor) -> None:
        self._network, self._volume = network, volume

    def query(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Points ``b r s 3`` of rays ``b r 3`` to signed distances ``b r s`` and values ``b r s v``."""
        seen = self._network.read_off(self._volume, points.flatten(1, 2))
        distances, values = (torch.unflatten(z, 1, points.shape[1:3]) for z in seen)
        return distances, values

    def signed_distance(self, points: Tensor) -> Tensor:
        """``b p 3`` to ``b p``."""
        return self._network.read_off(self._volume, points)[0]


class VolumeScene:
    """A ``Scene`` that has a surface: rendered from the volume alone, with the views looked at once a ray.

    The blended views are added where the ray meets the surface: at the mean point of what it hit, as opaque as that is.
    """

    def __init__(self, field: VolumeField, volume: Tensor, features: Tensor, cameras: Cameras) -> None:
        self._field, self._features, self._cameras = field, features, cameras
        surface = StoredSurface(field.network, volume)
        self._stored = SDFScene(surface, field.variance, field.options, features, jitter=field.training)

    def render(
        self, cameras: Cameras, size: tuple[int, int], pixels: Tensor | None = None, normals: bool = False
    ) -> Rendering:
        """Render, as ``SDFScene.render``."""
        seen = self._stored.render(cameras, size, pixels, normals)
        with full_precision(self._features):
            rays = cameras.to(torch.float32).rays(size, None if pixels is None else pixels.float())
            depth = seen.depth.reshape(rays.directions.shape[:-1])
            points = (rays.origins + depth[..., None] * rays.directions).flatten(1, 2)
            unit = (rays.directions / rays.directions.norm(dim=-1, keepdim=True)).flatten(1, 2)
        step = points_per_chunk(self._features, self._field.options.chunk_size)
        parts = zip(torch.split(points, step, dim=1), torch.split(unit, step, dim=1), strict=True)
        blended = torch.cat([self._blended(*part) for part in parts], dim=1)
        added = torch.unflatten(blended, 1, depth.shape[1:]).mT.reshape(seen.values.shape)
        values = seen.values + seen.opacity.unsqueeze(2) * added
        return replace(seen, values=values.to(result_dtype(self._features)))

    def _blended(self, points: Tensor, directions: Tensor) -> Tensor:
        """What the views show of points ``b p 3`` seen along unit directions ``b p 3``, as values ``b p v``."""
        blended = self._field.blend(sample_view_features(self._features, self._cameras, points), directions)
        values: Tensor = self._field.value_blended(blended)
        return values

    def signed_distance(self, points: Tensor) -> Tensor:
        """``b p 3`` in world units to ``b p``, float32: negative inside. Always evaluated in full precision."""
        return self._stored.signed_distance(points)

    def losses(self) -> dict[str, Tensor]:
        """The surface's regularisers, by finite differences of the signed distance."""
        return self._stored.losses()
