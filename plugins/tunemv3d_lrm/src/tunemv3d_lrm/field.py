"""The field ``lrm``: three planes of features, made of all views by a transformer, at which every point is sampled."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.layers import zero_init
from tunemv3d_core.ports import BuildContext, FieldPorts, Neighbours
from tunemv3d_core.rendering.build import field_ports
from tunemv3d_core.rendering.precision import full_precision
from tunemv3d_core.rendering.sdf_scene import SDFScene
from tunemv3d_lrm.spec import LRMSpec
from tunemv3d_lrm.transformer import PlaneTransformer

AXES = ((0, 1), (0, 2), (1, 2))
"""The world axes that the planes span: first a plane's rows, then its columns."""

INITIAL_RADIUS = 0.5
"""Radius of the sphere that the surface starts from, world units."""


def build(spec: LRMSpec, neighbours: Neighbours, context: BuildContext) -> "LRMField":
    """Build the field for the view encoder's features and the backbone's latents. Its parameters stay float32.

    Raises:
        PortsError: there is no view encoder.
    """
    return LRMField(spec, field_ports(spec.type, neighbours, spec.gives, spec.values)).to(context.device)


class LRMField(nn.Module):
    """Fuses features of n views into three planes.

    ``variance`` is NeuS's v of s = exp(10 v), the inverse width of the surface; weight decay should leave it alone.
    """

    def __init__(self, spec: LRMSpec, ports: FieldPorts) -> None:
        super().__init__()
        self.ports = ports
        self.spec = spec
        self.planes = PlaneTransformer(spec, ports.features)
        self.network = PlaneDecoder(spec, ports.values)
        self.variance = nn.Parameter(torch.tensor(spec.variance))

    def fuse(self, features: Tensor, cameras: Cameras, t: Tensor) -> SDFScene:
        """Fuse views.

        Args:
            features: ``b n f h w``.
            cameras: ``b n``.
            t: ``b``, the noise level of each object's views.
        """
        planes = self.planes(features, cameras.to(torch.float32), t)
        sdf = PlanesSDF(planes, self.network, self.spec.radius)
        return SDFScene(sdf, self.variance, self.spec, features, jitter=self.training)


class PlanesSDF:
    """The signed distance and values that three planes ``b 3 c g g`` hold (an ``SDF``)."""

    def __init__(self, planes: Tensor, network: "PlaneDecoder", radius: float) -> None:
        self._planes, self._network, self._radius = planes, network, radius

    def query(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Return signed distances ``b r s`` and values ``b r s v`` at points ``b r s 3``; directions do not matter."""
        flat, shape = points.flatten(1, 2), points.shape[1:3]
        hidden = self._hidden(flat)
        sdf, values = self._network.signed_distance(flat, hidden), self._network.value(hidden)
        return torch.unflatten(sdf, 1, shape), torch.unflatten(values, 1, shape)

    def signed_distance(self, points: Tensor) -> Tensor:
        """Return signed distances ``b p`` at points ``b p 3``."""
        return self._network.signed_distance(points, self._hidden(points))

    def _hidden(self, points: Tensor) -> Tensor:
        hidden: Tensor = self._network.trunk(sample_planes(self._planes, points / self._radius))
        return hidden


class PlaneDecoder(nn.Module):
    """Decodes a point's plane features. Last layers start at zero: exactly a sphere, all latents zero (white)."""

    def __init__(self, spec: LRMSpec, values: int) -> None:
        super().__init__()
        features, wide = 3 * spec.channels, spec.decoder
        self.trunk = nn.Sequential(nn.Linear(features, wide), nn.SiLU(), nn.Linear(wide, wide), nn.SiLU())
        self.distance = zero_init(nn.Linear(wide, 1))
        value = nn.Linear(wide, values)
        # Rendered features start at random: of zero ones an injector that is zero as well would never learn.
        self.value = zero_init(value) if spec.gives == "latents" else value

    def signed_distance(self, points: Tensor, hidden: Tensor) -> Tensor:
        """Return ``b p``, in the points' precision, negative inside, of ``b p 3`` and the trunk's ``b p wide``."""
        with full_precision(points):
            sphere: Tensor = torch.linalg.vector_norm(points, dim=-1) - INITIAL_RADIUS
            return sphere + torch.squeeze(self.distance(hidden.to(points)), -1)


def sample_planes(planes: Tensor, points: Tensor) -> Tensor:
    """Sample planes ``b 3 c g g`` that span [-1, 1] at points ``b p 3``, bilinearly: ``b p (3 c)``.

    Beyond the planes their border counts. The precision is that of the points.
    """
    with full_precision(points):
        axes = points.unbind(-1)
        # grid_sample wants the column first.
        places = torch.stack([torch.stack([axes[column], axes[row]], dim=-1) for row, column in AXES], dim=1)
        maps = planes.to(points).flatten(0, 1)
        samples = F.grid_sample(maps, places.flatten(0, 1)[:, None], padding_mode="border", align_corners=False)
        return torch.unflatten(samples[:, :, 0], 0, (-1, 3)).flatten(1, 2).mT
