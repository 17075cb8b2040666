"""A small conforming aggregator, and copies that look points up in a wrong place. Each docstring says how."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tunemv3d_core.cameras import Cameras


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
