"""A small conforming field and aggregator, and copies that are wrong about cameras, depth, opacity, values, normals and
distances, as authors of fields are. Each docstring says how.
"""

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tunemv3d_core.cameras import Cameras, Rays, intersect_sphere
from tunemv3d_core.ports import FieldPorts
from tunemv3d_core.types import Rendering

SAMPLES = 24


class LookUp(nn.Module):
    """An aggregator: the mean over views, bilinear, by the cameras. Copies override one step of it."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.channels = features

    def forward(self, features: Tensor, cameras: Cameras, points: Tensor) -> Tensor:
        pixels = self.project(cameras, self.placed(points)[:, None].float())
        seen = self.sample(self.maps(features.float()).flatten(0, 1), (pixels * 2 - 1).flatten(0, 1)[:, None])
        return torch.unflatten(seen[:, :, 0], 0, features.shape[:2]).mean(1).mT

    def placed(self, points: Tensor) -> Tensor:
        return points

    def maps(self, features: Tensor) -> Tensor:
        return features

    def project(self, cameras: Cameras, points: Tensor) -> Tensor:
        return cameras.project(points)[0]

    def sample(self, maps: Tensor, grid: Tensor) -> Tensor:
        return F.grid_sample(maps, grid, align_corners=False)


class SwapsXAndY(LookUp):
    """x and y are swapped in the look-up."""

    def project(self, cameras: Cameras, points: Tensor) -> Tensor:
        return super().project(cameras, points).flip(-1)


class TransposesMaps(LookUp):
    """Rows are taken for columns."""

    def maps(self, features: Tensor) -> Tensor:
        return features.mT


class YUp(LookUp):
    """The image's y points up, as in OpenGL."""

    def project(self, cameras: Cameras, points: Tensor) -> Tensor:
        x, y = super().project(cameras, points).unbind(-1)
        return torch.stack([x, 1 - y], -1)


class OpenGLCameras(LookUp):
    """Cameras look along their negative z."""

    def project(self, cameras: Cameras, points: Tensor) -> Tensor:
        pose = cameras.camera_to_world * points.new_tensor([1, -1, -1, 1])
        return Cameras(pose, cameras.intrinsics).project(points)[0]


class MirrorsTheWorld(LookUp):
    """The world is left-handed."""

    def placed(self, points: Tensor) -> Tensor:
        return points * points.new_tensor([-1, 1, 1])


class YUpWorld(LookUp):
    """The world's y is up."""

    def placed(self, points: Tensor) -> Tensor:
        return points[..., [0, 2, 1]]


class WorldToCamera(LookUp):
    """Poses are taken for world to camera."""

    def project(self, cameras: Cameras, points: Tensor) -> Tensor:
        return Cameras(torch.linalg.inv(cameras.camera_to_world), cameras.intrinsics).project(points)[0]


class TransposedRotation(LookUp):
    """Rotations are applied the wrong way round."""

    def project(self, cameras: Cameras, points: Tensor) -> Tensor:
        pose = cameras.camera_to_world.clone()
        pose[..., :3, :3] = pose[..., :3, :3].mT
        return Cameras(pose, cameras.intrinsics).project(points)[0]


class AlignsCorners(LookUp):
    """The centres of corner pixels are at 0 and 1."""

    def sample(self, maps: Tensor, grid: Tensor) -> Tensor:
        return F.grid_sample(maps, grid, align_corners=True)


class HalfAPixelOff(LookUp):
    """Pixel i is centred at i."""

    def sample(self, maps: Tensor, grid: Tensor) -> Tensor:
        return super().sample(maps, grid + 1 / grid.new_tensor([maps.shape[-1], maps.shape[-2]]))


class FxForFy(LookUp):
    """fx serves both axes."""

    def project(self, cameras: Cameras, points: Tensor) -> Tensor:
        return Cameras(cameras.camera_to_world, cameras.intrinsics[..., [0, 0, 2, 3]]).project(points)[0]


class CentredLenses(LookUp):
    """The principal point is taken for the centre."""

    def project(self, cameras: Cameras, points: Tensor) -> Tensor:
        half = torch.full_like(cameras.intrinsics[..., 2:], 0.5)
        lens = torch.cat([cameras.intrinsics[..., :2], half], -1)
        return Cameras(cameras.camera_to_world, lens).project(points)[0]


class SquareLenses(LookUp):
    """Every lens has the field of view of the first test object."""

    def project(self, cameras: Cameras, points: Tensor) -> Tensor:
        lens = cameras.intrinsics.new_tensor([1.3, 1.3, 0.5, 0.5]).expand_as(cameras.intrinsics)
        return Cameras(cameras.camera_to_world, lens).project(points)[0]


class IgnoresDistance(LookUp):
    """All cameras stand at one distance, as those of one dataset do."""

    def project(self, cameras: Cameras, points: Tensor) -> Tensor:
        pose = cameras.camera_to_world.clone()
        pose[..., :3, 3] = pose[..., :3, 3] / pose[..., :3, 3].norm(dim=-1, keepdim=True) * 2.7
        return Cameras(pose, cameras.intrinsics).project(points)[0]


class IgnoresCameras(LookUp):
    """The mean of a view, wherever it was seen from."""

    def forward(self, features: Tensor, cameras: Cameras, points: Tensor) -> Tensor:
        return features.float().mean((1, 3, 4))[:, None].expand(-1, points.shape[1], -1)


class OneCameraForAll(LookUp):
    """Every view is projected by the first camera."""

    def project(self, cameras: Cameras, points: Tensor) -> Tensor:
        return super().project(cameras[:, :1].expand(*cameras.shape), points)


class Ball(nn.Module):
    """A field: the signed distance of a ball that features dent, and values. Copies override one step of it."""

    look_up: type[LookUp] = LookUp

    def __init__(self, ports: FieldPorts) -> None:
        super().__init__()
        self.ports = ports
        self.aggregator = self.look_up(ports.features)
        self.layer = nn.Linear(ports.features + 4, 1 + ports.values)

    def fuse(self, features: Tensor, cameras: Cameras, t: Tensor) -> "BallScene":
        return BallScene(self, features, cameras, t)

    def level(self, t: Tensor) -> Tensor:
        return t / 1000

    def rays(self, cameras: Cameras, pixels: Tensor) -> Rays:
        return cameras.rays((1, 1), pixels)

    def shown(self, seen: Rendering, rays: Rays, cameras: Cameras) -> Rendering:
        return seen

    def distance(self, distance: Tensor, points: Tensor) -> Tensor:
        return distance

    def regularisers(self) -> dict[str, Tensor]:
        return {}


class BallScene:
    def __init__(self, field: Any, features: Tensor, cameras: Cameras, t: Tensor) -> None:
        self.field, self.features, self.cameras, self.t = field, features, cameras, t

    def render(
        self, cameras: Cameras, size: tuple[int, int], pixels: Tensor | None = None, normals: bool = False
    ) -> Rendering:
        with torch.autocast(self.features.device.type, enabled=False):
            whole = pixels is None
            centres = self._centres(size, cameras) if pixels is None else pixels.float()
            rays = self.field.rays(cameras.to(torch.float32), centres)
            near, far, hit = intersect_sphere(rays)
            fractions = (torch.arange(SAMPLES, device=near.device) + 0.5) / SAMPLES
            depths = near[..., None] + (far - near)[..., None] * fractions
            points = rays.origins[..., None, :] + depths[..., None] * rays.directions[..., None, :]
            distance, values = self._evaluate(points.flatten(1, -2))
            density = 25 * torch.sigmoid(-25 * torch.unflatten(distance, 1, points.shape[1:-1]))
            step = density * ((far - near) * rays.directions.norm(dim=-1) * hit / SAMPLES)[..., None]
            through = torch.exp(-(step.cumsum(-1) - step))
            weights = through * -torch.expm1(-step)
            opacity = weights.sum(-1)
            depth = torch.where(opacity > 1e-3, (weights * depths).sum(-1) / opacity.clamp(min=1e-3), 0.0)
            values = (weights[..., None] * torch.unflatten(values, 1, points.shape[1:-1])).sum(-2).mT
            directions = self._normals(rays.origins + depth[..., None] * rays.directions, opacity)
            seen = self.field.shown(Rendering(values, opacity, depth, directions), rays, cameras)
        dtype = torch.float32 if torch.is_autocast_enabled("cpu") else self.features.dtype

        def as_maps(z: Tensor) -> Tensor:
            return torch.unflatten(z, -1, size) if whole else z

        return Rendering(
            as_maps(seen.values).to(dtype),
            as_maps(seen.opacity).to(dtype),
            as_maps(seen.depth),
            as_maps(seen.normals) if normals and seen.normals is not None else None,
        )

    def signed_distance(self, points: Tensor) -> Tensor:
        distance: Tensor = self.field.distance(self._evaluate(points)[0], points)
        return distance

    def losses(self) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self.field.regularisers()
        return losses

    def _centres(self, size: tuple[int, int], cameras: Cameras) -> Tensor:
        y, x = ((torch.arange(n, device=self.features.device) + 0.5) / n for n in size)
        return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).flatten(0, 1).expand(*cameras.shape, -1, -1)

    def _evaluate(self, points: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(points.device.type, enabled=False):
            seen = self.field.aggregator(self.features, self.cameras.to(torch.float32), points)
            level = self.field.level(self.t.float())[:, None, None].expand(*points.shape[:-1], 1)
            layer = self.field.layer
            outputs = F.linear(torch.cat([seen, points.float(), level], -1), layer.weight.float(), layer.bias.float())
            return points.float().norm(dim=-1) - 0.6 + 0.15 * outputs[..., 0].tanh(), outputs[..., 1:]

    def _normals(self, points: Tensor, opacity: Tensor) -> Tensor:
        """``b m 3 r``, of points ``b m r 3``."""
        flat, steps = points.flatten(1, 2), 0.01 * torch.eye(3, device=points.device)
        with torch.no_grad():
            ahead, behind = (
                torch.unflatten(self._evaluate((flat[:, :, None] + sign * steps).flatten(1, 2))[0], 1, (-1, 3))
                for sign in (1, -1)
            )
        normals = F.normalize(ahead - behind, dim=-1) * (opacity > 1e-3).flatten(1)[..., None]
        return torch.unflatten(normals, 1, points.shape[1:3]).mT


class OtherPixels(Ball):
    """Changes pixels before rays are cast through them."""

    def rays(self, cameras: Cameras, pixels: Tensor) -> Rays:
        return super().rays(cameras, self.moved(pixels))

    def moved(self, pixels: Tensor) -> Tensor:
        return pixels


class QuerySwapsXAndY(OtherPixels):
    """x and y of the pixels are swapped."""

    def moved(self, pixels: Tensor) -> Tensor:
        return pixels.flip(-1)


class QueryYUp(OtherPixels):
    """The image's y points up."""

    def moved(self, pixels: Tensor) -> Tensor:
        return torch.stack([pixels[..., 0], 1 - pixels[..., 1]], -1)


class QueryHalfAPixelOff(OtherPixels):
    """Rays pass the corners of pixels."""

    def moved(self, pixels: Tensor) -> Tensor:
        return pixels - 0.5 / pixels.new_tensor([16, 12])


class QueryFxForFy(Ball):
    """Rays take fx for both axes."""

    def rays(self, cameras: Cameras, pixels: Tensor) -> Rays:
        return super().rays(Cameras(cameras.camera_to_world, cameras.intrinsics[..., [0, 0, 2, 3]]), pixels)


class QueryCentredLenses(Ball):
    """Rays take the centre for the principal point."""

    def rays(self, cameras: Cameras, pixels: Tensor) -> Rays:
        half = torch.full_like(cameras.intrinsics[..., 2:], 0.5)
        return super().rays(
            Cameras(cameras.camera_to_world, torch.cat([cameras.intrinsics[..., :2], half], -1)), pixels
        )


class QueryOpenGL(Ball):
    """Rays leave the camera backwards."""

    def rays(self, cameras: Cameras, pixels: Tensor) -> Rays:
        return super().rays(
            Cameras(cameras.camera_to_world * pixels.new_tensor([1, -1, -1, 1]), cameras.intrinsics), pixels
        )


class QueryMirrored(Ball):
    """Rays are cast in a mirrored world."""

    def rays(self, cameras: Cameras, pixels: Tensor) -> Rays:
        rays, mirror = super().rays(cameras, pixels), pixels.new_tensor([-1, 1, 1])
        return Rays(rays.origins * mirror, rays.directions * mirror)


class IgnoresQueryCamera(Ball):
    """Whatever camera is asked, one that stands in front renders."""

    def rays(self, cameras: Cameras, pixels: Tensor) -> Rays:
        front = Cameras.orbit(1, distance=2.7).to(pixels.device)[:, None].expand(*cameras.shape)
        return super().rays(front, pixels)


class FirstQueryCamera(Ball):
    """The first query camera renders for all."""

    def rays(self, cameras: Cameras, pixels: Tensor) -> Rays:
        return super().rays(cameras[:, :1].expand(*cameras.shape), pixels)


class MixesQueryViews(Ball):
    """Each query view has some of the mean of all."""

    def shown(self, seen: Rendering, rays: Rays, cameras: Cameras) -> Rendering:
        return replace(seen, values=0.8 * seen.values + 0.2 * seen.values.mean(1, keepdim=True))


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
