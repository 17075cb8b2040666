"""The field ``hash``: a hash grid that all objects share, modulated by the views of each."""

import torch
from torch import Tensor, nn

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.ports import BuildContext, FieldPorts, Neighbours
from tunemv3d_core.rendering.build import build_field
from tunemv3d_core.rendering.sdf_scene import SDFScene
from tunemv3d_core.slots import Aggregator
from tunemv3d_hash.network import HashNetwork
from tunemv3d_hash.spec import HashSpec


def build(spec: HashSpec, neighbours: Neighbours, context: BuildContext) -> "HashField":
    """Build the field, as ``build_field``."""
    return build_field(HashField, spec, spec.aggregator, neighbours, context)


class HashField(nn.Module):
    """Fuses features of n views into the signed distance and values of their object.

    ``variance`` is NeuS's v of s = exp(10 v), the inverse width of the surface; weight decay should leave it alone.
    """

    def __init__(self, spec: HashSpec, ports: FieldPorts, aggregator: Aggregator) -> None:
        super().__init__()
        self.ports = ports
        self.spec = spec
        self.aggregator = aggregator
        self.network = HashNetwork(spec, aggregator.channels, ports.values)
        self.variance = nn.Parameter(torch.tensor(spec.variance))

    def fuse(self, features: Tensor, cameras: Cameras, t: Tensor) -> SDFScene:
        """Fuse views.

        Args:
            features: ``b n f h w``.
            cameras: ``b n``.
            t: ``b``, the noise level of each object's views.
        """
        sdf = HashSDF(self, features, cameras.to(torch.float32), self.network.embed(t))
        return SDFScene(sdf, self.variance, self.spec, features, jitter=self.training)


class HashSDF:
    """The signed distance and values of b objects (an ``SDF``): the views are aggregated at every point."""

    def __init__(self, field: HashField, features: Tensor, cameras: Cameras, time: Tensor) -> None:
        self._aggregator, self._network = field.aggregator, field.network
        self._features, self._cameras, self._time = features, cameras, time

    def query(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Return signed distances ``b r s`` and values ``b r s v`` at points ``b r s 3`` of rays ``b r 3``."""
        at = self._evaluate(points.flatten(1, 2))
        sdf, hidden, aggregated = (torch.unflatten(z, 1, points.shape[1:3]) for z in at)
        return sdf, self._network.values(hidden, aggregated, directions)

    def signed_distance(self, points: Tensor) -> Tensor:
        """Return signed distances ``b p`` at points ``b p 3``."""
        return self._evaluate(points)[0]

    def _evaluate(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return signed distances ``b p`` at ``b p 3``, the trunk's features and the aggregated ones, ``b p ...``."""
        aggregated = self._aggregator(self._features, self._cameras, points)
        hidden = self._network.trunk(points, aggregated, self._time)
        return self._network.signed_distance(points, hidden, aggregated), hidden, aggregated
