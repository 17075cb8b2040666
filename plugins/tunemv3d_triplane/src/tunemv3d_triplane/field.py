"""The field ``triplane``: three planes of features, made once of all views, at which every point is sampled."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.layers import zero_init
from tunemv3d_core.ports import BuildContext, FieldPorts, Neighbours
from tunemv3d_core.rendering.build import build_field
from tunemv3d_core.rendering.points import cell_centres
from tunemv3d_core.rendering.precision import full_precision
from tunemv3d_core.rendering.sdf_scene import SDFScene
from tunemv3d_core.slots import Aggregator
from tunemv3d_triplane.planes import PlaneNetwork, sample_planes
from tunemv3d_triplane.spec import TriplaneSpec

INITIAL_RADIUS = 0.5
"""Radius of the sphere that the surface starts from, world units."""


def build(spec: TriplaneSpec, neighbours: Neighbours, context: BuildContext) -> "TriplaneField":
    """Build the field, as ``build_field``."""
    return build_field(TriplaneField, spec, spec.aggregator, neighbours, context)


class TriplaneField(nn.Module):
    """Fuses features of n views into three planes.

    ``variance`` is NeuS's v of s = exp(10 v), the inverse width of the surface; weight decay should leave it alone.
    """

    def __init__(self, spec: TriplaneSpec, ports: FieldPorts, aggregator: Aggregator) -> None:
        super().__init__()
        self.ports = ports
        self.spec = spec
        self.aggregator = aggregator
        self.planes = PlaneNetwork(aggregator.channels, spec.cells, spec.folded, spec.channels, spec.plane_blocks)
        self.network = TriplaneDecoder(spec, ports.values)
        self.variance = nn.Parameter(torch.tensor(spec.variance))

    def fuse(self, features: Tensor, cameras: Cameras, t: Tensor) -> SDFScene:
        """Fuse views.

        Args:
            features: ``b n f h w``.
            cameras: ``b n``.
            t: ``b``, the noise level of each object's views.
        """
        grid = cell_centres(self.spec.cells, self.spec.radius, features.device).expand(len(features), -1, -1)
        planes = self.planes(self.aggregator(features, cameras.to(torch.float32), grid), t)
        sdf = TriplaneSDF(planes, self.network, self.spec.radius)
        return SDFScene(sdf, self.variance, self.spec, features, jitter=self.training)


class TriplaneSDF:
    """The signed distance and values that three planes ``b 3 c g g`` hold (an ``SDF``)."""

    def __init__(self, planes: Tensor, network: "TriplaneDecoder", radius: float) -> None:
        self._planes, self._network, self._radius = planes, network, radius

    def query(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Return signed distances ``b r s`` and values ``b r s v`` at points ``b r s 3`` of rays ``b r 3``."""
        samples, points = points.shape[2], points.flatten(1, 2)
        features = sample_planes(self._planes, points, self._radius)
        hidden = self._network.trunk(features)
        sdf = self._network.signed_distance(points, hidden, features)
        hidden, features = (torch.unflatten(z, 1, (-1, samples)) for z in (hidden, features))
        return torch.unflatten(sdf, 1, (-1, samples)), self._network.values(hidden, features, directions)

    def signed_distance(self, points: Tensor) -> Tensor:
        """Return signed distances ``b p`` at points ``b p 3``."""
        features = sample_planes(self._planes, points, self._radius)
        return self._network.signed_distance(points, self._network.trunk(features), features)


class TriplaneDecoder(nn.Module):
    """Decodes a point's plane features to its signed distance and values.

    The distance sees no view direction, so the surface looks the same from everywhere. Last layers start at zero: the
    surface is exactly a sphere and all latents are zero (white), whatever the planes hold. Plane features reach
    distance and value through skip connections too (``*_agg``).
    """

    def __init__(self, spec: TriplaneSpec, values: int) -> None:
        super().__init__()
        features, hidden = 3 * spec.channels, spec.hidden
        self.layers = nn.ModuleList(nn.Linear(hidden if k else features, hidden) for k in range(spec.layers))
        self.distance = zero_init(nn.Linear(hidden, 1))
        self.distance_agg = zero_init(nn.Linear(features, 1, bias=False))
        self.value_in = nn.Linear(hidden, hidden // 2)
        self.value_direction = nn.Linear(3, hidden // 2, bias=False)
        value_out = nn.Linear(hidden // 2, values)
        # Rendered features start at random: of zero ones an injector that is zero as well would never learn.
        self.value_out = zero_init(value_out) if spec.gives == "latents" else value_out
        self.value_agg = zero_init(nn.Linear(features, values, bias=False))

    def trunk(self, features: Tensor) -> Tensor:
        """Map plane features ``b p (3 c)`` to ``b p hidden``."""
        for layer in self.layers:
            features = F.silu(layer(features))
        return features

    def signed_distance(self, points: Tensor, hidden: Tensor, features: Tensor) -> Tensor:
        """Return ``b p``, float32, negative inside, of ``b p 3``, the trunk's ``b p hidden`` and ``b p (3 c)``."""
        with full_precision(points):
            sphere: Tensor = torch.linalg.vector_norm(points, dim=-1) - INITIAL_RADIUS
            change: Tensor = self.distance(hidden.float()) + self.distance_agg(features.float())
            return sphere + torch.squeeze(change, -1)

    def values(self, hidden: Tensor, features: Tensor, directions: Tensor) -> Tensor:
        """Return ``b r s v`` of the trunk's ``b r s hidden`` and ``b r s (3 c)`` along unit directions ``b r 3``."""
        inner = self.value_in(hidden) + self.value_direction(directions)[:, :, None]
        values: Tensor = self.value_out(F.silu(inner)) + self.value_agg(features)
        return values
