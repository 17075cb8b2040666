"""The field ``triplane``: three planes of features, made once of all views, off which every point is read."""

from dataclasses import fields

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tunemv3d_core.assemble import build_component
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import PortsError
from tunemv3d_core.ports import BuildContext, FieldPorts, Neighbours
from tunemv3d_core.rendering.precision import full_precision
from tunemv3d_core.rendering.sdf_scene import SDFOptions, SDFScene
from tunemv3d_core.slots import Aggregator
from tunemv3d_triplane.planes import PlaneMaker, read_off
from tunemv3d_triplane.spec import TriplaneSpec

SPHERE = 0.5
"""Radius of the sphere that the surface starts from, world units."""


def build(spec: TriplaneSpec, neighbours: Neighbours, context: BuildContext) -> "TriplaneField":
    """Build the field for the view encoder's features and the backbone's latents. Its parameters stay float32.

    Raises:
        PortsError: there is no view encoder.
    """
    if neighbours.view_encoder is None:
        raise PortsError("field 'triplane' needs features: the model has no view_encoder")
    features = neighbours.view_encoder.features
    values = neighbours.backbone.latent_channels if spec.values is None else spec.values
    aggregator = build_component("aggregator", spec.aggregator, features)
    ports = FieldPorts(features=features, gives=spec.gives, values=values)
    return TriplaneField(spec, ports, aggregator).to(context.device)


class TriplaneField(nn.Module):
    """Fuses features of n views into three planes.

    ``variance`` is NeuS's v of s = exp(10 v), the inverse width of the surface; weight decay should leave it alone.
    """

    def __init__(self, spec: TriplaneSpec, ports: FieldPorts, aggregator: Aggregator) -> None:
        super().__init__()
        self.ports = ports
        self.radius = spec.radius
        self.options = SDFOptions(**{option.name: getattr(spec, option.name) for option in fields(SDFOptions)})
        self.aggregator = aggregator
        self.planes = PlaneMaker(aggregator.channels, spec.cells, spec.folded, spec.channels, spec.plane_blocks)
        self.network = Reader(spec, ports.values)
        self.variance = nn.Parameter(torch.tensor(spec.variance))

    def fuse(self, features: Tensor, cameras: Cameras, t: Tensor) -> SDFScene:
        """Fuse views.

        Args:
            features: ``b n f h w``.
            cameras: ``b n``.
            t: ``b``, the noise level of each object's views.
        """
        grid = self.planes.grid(self.radius, features.device).expand(len(features), -1, -1)
        planes = self.planes(self.aggregator(features, cameras.to(torch.float32), grid), t)
        surface = PlanarSurface(planes, self.network, self.radius)
        return SDFScene(surface, self.variance, self.options, features, jitter=self.training)


class PlanarSurface:
    """The signed distance and values that three planes ``b 3 c g g`` hold: a ``Surface``."""

    def __init__(self, planes: Tensor, network: "Reader", radius: float) -> None:
        self._planes, self._network, self._radius = planes, network, radius

    def query(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Points ``b r s 3`` of rays ``b r 3`` to signed distances ``b r s`` and values ``b r s v``."""
        samples, points = points.shape[2], points.flatten(1, 2)
        seen = read_off(self._planes, points, self._radius)
        hidden = self._network.trunk(seen)
        distances = self._network.signed_distance(points, hidden, seen)
        hidden, seen = (torch.unflatten(z, 1, (-1, samples)) for z in (hidden, seen))
        return torch.unflatten(distances, 1, (-1, samples)), self._network.values(hidden, seen, directions)

    def signed_distance(self, points: Tensor) -> Tensor:
        """``b p 3`` to ``b p``."""
        seen = read_off(self._planes, points, self._radius)
        return self._network.signed_distance(points, self._network.trunk(seen), seen)


class Reader(nn.Module):
    """From what the planes say of a point to its signed distance and values.

    The distance sees no view direction, so the surface looks the same from everywhere. Last layers start at zero: the
    surface is exactly a sphere and all latents are zero (white), whatever the planes hold. What they say reaches
    distance and value by straight roads too (``*_agg``).
    """

    def __init__(self, spec: TriplaneSpec, values: int) -> None:
        super().__init__()
        seen, hidden = 3 * spec.channels, spec.hidden
        self.layers = nn.ModuleList(nn.Linear(hidden if k else seen, hidden) for k in range(spec.layers))
        self.distance = _zeroed(nn.Linear(hidden, 1))
        self.distance_agg = _zeroed(nn.Linear(seen, 1, bias=False))
        self.value_in = nn.Linear(hidden, hidden // 2)
        self.value_direction = nn.Linear(3, hidden // 2, bias=False)
        value_out = nn.Linear(hidden // 2, values)
        # Rendered features start at random: of zero ones an injector that is zero as well would never learn.
        self.value_out = _zeroed(value_out) if spec.gives == "latents" else value_out
        self.value_agg = _zeroed(nn.Linear(seen, values, bias=False))

    def trunk(self, seen: Tensor) -> Tensor:
        """What the planes say, ``b p (3 c)``, to hidden features ``b p hidden``."""
        for layer in self.layers:
            seen = F.silu(layer(seen))
        return seen

    def signed_distance(self, points: Tensor, hidden: Tensor, seen: Tensor) -> Tensor:
        """``b p 3``, the trunk's ``b p hidden`` and ``b p (3 c)`` to ``b p``, float32: negative inside."""
        with full_precision(points):
            sphere: Tensor = torch.linalg.vector_norm(points, dim=-1) - SPHERE
            change: Tensor = self.distance(hidden.float()) + self.distance_agg(seen.float())
            return sphere + torch.squeeze(change, -1)

    def values(self, hidden: Tensor, seen: Tensor, directions: Tensor) -> Tensor:
        """The trunk's ``b r s hidden`` and ``b r s (3 c)`` along unit directions ``b r 3``: ``b r s v``."""
        inner = self.value_in(hidden) + self.value_direction(directions)[:, :, None]
        values: Tensor = self.value_out(F.silu(inner)) + self.value_agg(seen)
        return values


def _zeroed(layer: nn.Linear) -> nn.Linear:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
