"""The interaction field ``neus`` (paper B.1): merges what all views say into a surface with values and renders it."""

from dataclasses import fields

import torch
from torch import Tensor, nn

from tunemv3d_core.assemble import build_component
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import PortsError
from tunemv3d_core.ports import BuildContext, FieldPorts, Neighbours
from tunemv3d_core.rendering.sdf_scene import SDFOptions, SDFScene
from tunemv3d_core.slots import Aggregator
from tunemv3d_neus.network import NeuSNetwork
from tunemv3d_neus.spec import NeuSSpec


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
    """Fuses features of n views into a surface.

    ``variance`` is NeuS's v of s = exp(10 v), the inverse width of the surface; weight decay should leave it alone.
    """

    def __init__(self, spec: NeuSSpec, ports: FieldPorts, aggregator: Aggregator) -> None:
        super().__init__()
        self.ports = ports
        self.options = SDFOptions(**{option.name: getattr(spec, option.name) for option in fields(SDFOptions)})
        self.aggregator = aggregator
        self.network = NeuSNetwork(spec, aggregator.channels, ports.values)
        self.variance = nn.Parameter(torch.tensor(spec.variance))

    def fuse(self, features: Tensor, cameras: Cameras, t: Tensor) -> SDFScene:
        """Fuse views.

        Args:
            features: ``b n f h w``.
            cameras: ``b n``.
            t: ``b``, the noise level of each object's views.
        """
        surface = SeenSurface(self, features, cameras.to(torch.float32), self.network.embed(t))
        return SDFScene(surface, self.variance, self.options, features, jitter=self.training)


class SeenSurface:
    """The signed distance and values that n views agreed on: a ``Surface``."""

    def __init__(self, field: NeuSField, features: Tensor, cameras: Cameras, time: Tensor) -> None:
        self._aggregator, self._network = field.aggregator, field.network
        self._features = features
        self._cameras = cameras
        self._time = time

    def query(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Points ``b r s 3`` of rays ``b r 3`` to signed distances ``b r s`` and values ``b r s v``."""
        samples, points = points.shape[2], points.flatten(1, 2)
        aggregated = self._aggregator(self._features, self._cameras, points)
        hidden = self._network.trunk(points, aggregated, self._time)
        distances = self._network.signed_distance(points, hidden, aggregated)
        hidden, aggregated = (torch.unflatten(z, 1, (-1, samples)) for z in (hidden, aggregated))
        return torch.unflatten(distances, 1, (-1, samples)), self._network.values(hidden, aggregated, directions)

    def signed_distance(self, points: Tensor) -> Tensor:
        """``b p 3`` to ``b p``."""
        aggregated = self._aggregator(self._features, self._cameras, points)
        return self._network.signed_distance(points, self._network.trunk(points, aggregated, self._time), aggregated)
