"""Copies of the field of ``kit_geometry`` that are wrong about opacity, values, depth, normals and distances, or in how
they train. Each docstring says how.
"""

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from kit_geometry import Ball, BallScene
from torch import Tensor, nn

from tunemv3d_core.cameras import Cameras, Rays, intersect_sphere
from tunemv3d_core.ports import FieldPorts
from tunemv3d_core.types import Rendering


class InvertsOpacity(Ball):
    """Opacity is transmittance."""

    def shown(self, seen: Rendering, rays: Rays, cameras: Cameras) -> Rendering:
        return replace(seen, opacity=1 - seen.opacity)


class OpaqueEverywhere(Ball):
    """Opacity is 1."""

    def shown(self, seen: Rendering, rays: Rays, cameras: Cameras) -> Rendering:
        return replace(seen, opacity=torch.ones_like(seen.opacity) + 0 * seen.opacity)


class DetachesOpacity(Ball):
    """Opacity carries no gradient."""

    def shown(self, seen: Rendering, rays: Rays, cameras: Cameras) -> Rendering:
        return replace(seen, opacity=seen.opacity.detach())


class DividesValues(Ball):
    """Values are those of the surface, not premultiplied."""

    def shown(self, seen: Rendering, rays: Rays, cameras: Cameras) -> Rendering:
        return replace(seen, values=seen.values / seen.opacity.clamp(min=1e-3).unsqueeze(2))


class PaintsWhite(Ball):
    """White is in the values already."""

    def shown(self, seen: Rendering, rays: Rays, cameras: Cameras) -> Rendering:
        return replace(seen, values=seen.values + (1 - seen.opacity).unsqueeze(2))


class DepthOfRays(Ball):
    """Depth is the ray's length."""

    def shown(self, seen: Rendering, rays: Rays, cameras: Cameras) -> Rendering:
        return replace(seen, depth=seen.depth * rays.directions.norm(dim=-1))


class DepthTimesOpacity(Ball):
    """Depth is not divided by opacity."""

    def shown(self, seen: Rendering, rays: Rays, cameras: Cameras) -> Rendering:
        return replace(seen, depth=seen.depth * seen.opacity)


class FarWhereNothingIs(Ball):
    """Depth is 10 where nothing was hit."""

    def shown(self, seen: Rendering, rays: Rays, cameras: Cameras) -> Rendering:
        return replace(seen, depth=torch.where(seen.opacity > 1e-3, seen.depth, 10.0))


class DepthFromTheSphere(Ball):
    """Depth counts from where the ray enters the sphere."""

    def shown(self, seen: Rendering, rays: Rays, cameras: Cameras) -> Rendering:
        return replace(seen, depth=(seen.depth - intersect_sphere(rays)[0]).clamp(min=0))


class Disparity(Ball):
    """Depth is its inverse."""

    def shown(self, seen: Rendering, rays: Rays, cameras: Cameras) -> Rendering:
        return replace(seen, depth=torch.where(seen.depth > 0, 1 / seen.depth.clamp(min=1e-3), 0.0))


class HalfDepth(Ball):
    """Depth is rounded to bfloat16."""

    def fuse(self, *given: Any) -> Any:
        return HalfDepthScene(self, *given)


class HalfDepthScene(BallScene):
    def render(self, *given: Any, **options: Any) -> Rendering:
        seen = super().render(*given, **options)
        return replace(seen, depth=seen.depth.to(self.features.dtype))


class NormalsInward(Ball):
    """Normals point into the object."""

    def shown(self, seen: Rendering, rays: Rays, cameras: Cameras) -> Rendering:
        return replace(seen, normals=-seen.normals)


class NormalsInCamera(Ball):
    """Normals are those of the camera's axes."""

    def shown(self, seen: Rendering, rays: Rays, cameras: Cameras) -> Rendering:
        return replace(seen, normals=cameras.camera_to_world[..., :3, :3].mT @ seen.normals)


class NormalsOfLengthTwo(Ball):
    """Normals are twice as long."""

    def shown(self, seen: Rendering, rays: Rays, cameras: Cameras) -> Rendering:
        return replace(seen, normals=2 * seen.normals)


class NormalsTowardsCamera(Ball):
    """Normals are the ray's own direction, backwards."""

    def shown(self, seen: Rendering, rays: Rays, cameras: Cameras) -> Rendering:
        towards = -F.normalize(rays.directions, dim=-1).mT * (seen.opacity > 1e-3).unsqueeze(2)
        return replace(seen, normals=torch.roll(towards, 1, 2))


class NegatesDistance(Ball):
    """The signed distance is positive inside."""

    def distance(self, distance: Tensor, points: Tensor) -> Tensor:
        return -distance


class TriplesDistance(Ball):
    """Distances are three times too large."""

    def distance(self, distance: Tensor, points: Tensor) -> Tensor:
        return 3 * distance


class DistanceOfASphere(Ball):
    """The signed distance is that of the sphere from which the field starts."""

    def distance(self, distance: Tensor, points: Tensor) -> Tensor:
        return points.norm(dim=-1) - 0.6


class DistanceOfASmallerShape(Ball):
    """The signed distance is that of a surface which lies deeper."""

    def distance(self, distance: Tensor, points: Tensor) -> Tensor:
        return distance + 0.2


class DistanceWithoutSign(Ball):
    """The distance has no sign."""

    def distance(self, distance: Tensor, points: Tensor) -> Tensor:
        return distance.abs()


class IgnoresT(Ball):
    """The noise level changes nothing."""

    def level(self, t: Tensor) -> Tensor:
        return torch.zeros_like(t)


class NormalisesOverObjects(Ball):
    """Batch statistics mix the objects in training."""

    def __init__(self, ports: FieldPorts) -> None:
        super().__init__(ports)
        self.norm = nn.BatchNorm2d(ports.features)

    def fuse(self, features: Tensor, cameras: Cameras, t: Tensor) -> Any:
        normed = self.norm(features.flatten(0, 1).float()).to(features.dtype)
        return super().fuse(torch.unflatten(normed, 0, features.shape[:2]), cameras, t)


class DividesByZero(Ball):
    """The gradient of a norm is 0/0 where features are 0."""

    def fuse(self, features: Tensor, cameras: Cameras, t: Tensor) -> Any:
        length = features.square().sum(2, keepdim=True).sqrt()
        return super().fuse(features / (1 + length), cameras, t)


class LossOfNothing(Ball):
    """A regulariser is NaN in training."""

    def regularisers(self) -> dict[str, Tensor]:
        empty = self.layer.weight[:0] if self.training else self.layer.weight
        return {"smoothness": empty.square().mean()}


class KeepsATensor(Ball):
    """A tensor is held as a plain attribute."""

    def __init__(self, ports: FieldPorts) -> None:
        super().__init__(ports)
        self.frequencies = torch.ones(1)


class NoLosses(Ball):
    """Its scene has no losses()."""

    def fuse(self, *given: Any) -> Any:
        return SceneWithoutLosses(self, *given)


class SceneWithoutLosses:
    def __init__(self, *given: Any) -> None:
        self.scene = BallScene(*given)
        self.render = self.scene.render


class GivesATuple(Ball):
    """render gives a tuple."""

    def fuse(self, *given: Any) -> Any:
        return TupleScene(self, *given)


class TupleScene(BallScene):
    def render(self, *given: Any, **options: Any) -> Any:
        seen = super().render(*given, **options)
        return seen.values, seen.opacity, seen.depth


class StopsAtEightViews(Ball):
    """Has room for eight views."""

    def fuse(self, features: Tensor, cameras: Cameras, t: Tensor) -> Any:
        return super().fuse(features[:, :8], cameras[:, :8], t)


class LeaksOutOfTheSphere(Ball):
    """Rays that miss the sphere have a haze."""

    def shown(self, seen: Rendering, rays: Rays, cameras: Cameras) -> Rendering:
        return replace(seen, opacity=seen.opacity * 0.99 + 0.01)


class CountsAxes(Ball):
    """Takes features of one map."""

    def fuse(self, features: Tensor, cameras: Cameras, t: Tensor) -> Any:
        b, n, f = features.shape
        return super().fuse(features.reshape(b, n, f), cameras, t)
