"""A small conforming field, and copies whose rays are wrong. Each docstring says how."""

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from kit_look_ups import LookUp
from torch import Tensor, nn

from tunemv3d_core.cameras import Cameras, Rays, intersect_sphere
from tunemv3d_core.ports import FieldPorts
from tunemv3d_core.types import Rendering

SAMPLES = 24


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
