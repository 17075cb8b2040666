"""The interaction field ``neus`` (paper B.1): a signed distance and values from the features of all views."""

import torch
from torch import Tensor, nn

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.ports import BuildContext, FieldPorts, Neighbours
from tunemv3d_core.rendering.build import build_field
from tunemv3d_core.rendering.sdf_scene import SDFScene
from tunemv3d_core.slots import Aggregator
from tunemv3d_neus.aggregator import MeanVariance
from tunemv3d_neus.fused_network import fused_distance, fused_query, is_fused
from tunemv3d_neus.network import NeuSNetwork
from tunemv3d_neus.spec import NeuSSpec


def build(spec: NeuSSpec, neighbours: Neighbours, context: BuildContext) -> "NeuSField":
    """Build the field, as ``build_field``."""
    return build_field(NeuSField, spec, spec.aggregator, neighbours, context)


class NeuSField(nn.Module):
    """Fuses features of n views into a surface.

    ``variance`` is NeuS's v of s = exp(10 v), the inverse width of the surface; weight decay should leave it alone.
    """

    def __init__(self, spec: NeuSSpec, ports: FieldPorts, aggregator: Aggregator) -> None:
        super().__init__()
        self.ports = ports
        self.spec = spec
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
        sdf = AggregatedSDF(self, features, cameras.to(torch.float32), self.network.embed(t))
        return SDFScene(sdf, self.variance, self.spec, features, jitter=self.training)


class AggregatedSDF:
    """The signed distance and values of features that are aggregated at every point (an ``SDF``).

    Attributes:
        recomputes: whether fused kernels evaluate it, which keep no activation for the backward pass.
    """

    def __init__(self, field: NeuSField, features: Tensor, cameras: Cameras, time: Tensor) -> None:
        self._aggregator, self._network = field.aggregator, field.network
        self._features = features
        self._cameras = cameras
        self._time = time
        # Points of rays that meet the sphere lie within it, but for rounding.
        self._radius = field.spec.radius * (1 + 1e-4)
        self.recomputes = isinstance(field.aggregator, MeanVariance) and is_fused(field.network, features.device)

    def query(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Return signed distances ``b r s`` and values ``b r s v`` at points ``b r s 3`` of rays ``b r 3``."""
        samples = points.shape[2]
        seen_along = directions[:, :, None].expand_as(points).flatten(1, 2)
        points = points.flatten(1, 2)
        aggregated = self._aggregator(self._features, self._cameras, points)
        if self._takes(points):
            flat = fused_query(self._network, points, directions, aggregated, self._time, self._radius)
            sdf, values = (torch.unflatten(z, 1, (-1, samples)) for z in flat)
            return sdf, values
        hidden = self._network.trunk(points, seen_along, aggregated, self._time)
        sdf = self._network.signed_distance(points, hidden, aggregated)
        hidden, aggregated = (torch.unflatten(z, 1, (-1, samples)) for z in (hidden, aggregated))
        return torch.unflatten(sdf, 1, (-1, samples)), self._network.values(hidden, aggregated, directions)

    def signed_distance(self, points: Tensor) -> Tensor:
        """Return signed distances ``b p`` at points ``b p 3``."""
        aggregated = self._aggregator(self._features, self._cameras, points)
        if self._takes(points):
            return fused_distance(self._network, points, aggregated, self._time)
        return self._network.signed_distance(
            points, self._network.trunk(points, None, aggregated, self._time), aggregated
        )

    def _takes(self, points: Tensor) -> bool:
        """Whether the fused kernels take the points."""
        return not points.requires_grad and points.dtype == torch.float32 and is_fused(self._network, points.device)
