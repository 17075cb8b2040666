"""Views and rays by which geometry is asked. No lens is square or centred, and no map is square."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tunemv3d_core.cameras import Cameras, Rays, intersect_sphere, sphere_points
from tunemv3d_core.testing.check import NotApplicableError
from tunemv3d_core.testing.component import Built
from tunemv3d_core.types import Rendering

VIEWS = 16

MAPS = (14, 18)
"""(h, w) of the input views' features."""

NEAR_MAPS = (20, 26)
"""That of features of cameras that stand near."""

MARGIN = (1, 0, 1, 2)
"""Rows above and below, columns left and right, in which no point of the cube around the sphere is seen."""

SIZE = (12, 16)
"""(h, w) of the maps of which pixels are rendered."""

LENS = (0.82, 1.07, 0.46, 0.53)
"""fx, fy, cx, cy of the input views."""

QUERY_LENS = (0.62, 0.51, 0.53, 0.46)
"""Those of the query views, wide enough for rays that pass the sphere."""

ABOUT_X, ABOUT_Y, ABOUT_Z = 0, 1, 2


@dataclass(frozen=True)
class PosedViews:
    """Input views of one object.

    Attributes:
        features: ``1 n f h w``.
        cameras: ``1 n``, which see all points of the cube around the unit sphere.
        t: ``1``.
    """

    features: Tensor
    cameras: Cameras
    t: Tensor

    def rolled(self) -> "PosedViews":
        """Turn every map by 90 degrees, and its camera with it."""
        features = torch.rot90(self.features, 1, (-2, -1))
        return replace(self, features=features, cameras=rolled(self.cameras))

    def cropped(self) -> "PosedViews":
        """Cut ``MARGIN`` off every map, and state the lens of what is left."""
        above, below, left, right = MARGIN
        h, w = self.features.shape[-2:]
        features = self.features[..., above : h - below, left : w - right]
        size = self.features.new_tensor([w, h])
        kept = size - self.features.new_tensor([left + right, above + below])
        focal, centre = torch.split(self.cameras.intrinsics, 2, dim=-1)
        corner = self.features.new_tensor([left, above])
        lens = torch.cat([focal * size / kept, (centre * size - corner) / kept], dim=-1)
        return replace(self, features=features, cameras=Cameras(self.cameras.camera_to_world, lens))


def input_views(built: Built, seed: int = 0, near: bool = False) -> PosedViews:
    """Draw features of ``VIEWS`` cameras around the object; near ones see the sphere alone, in more cells."""
    features = built.batch().features.shape[2]
    generator = torch.Generator().manual_seed(seed)
    maps, distance = (NEAR_MAPS, 2.4) if near else (MAPS, 5.0)
    drawn = torch.randn(1, VIEWS, features, *maps, generator=generator)
    elevations = [(-0.6 + 1.5 * k / VIEWS) for k in range(VIEWS)]
    cameras = _cameras([2.4 * k for k in range(VIEWS)], elevations, distance, LENS)
    return PosedViews(drawn.to(built.device), cameras.to(built.device), torch.full((1,), 300.0, device=built.device))


def query_cameras(built: Built) -> Cameras:
    """Return three cameras, ``1 3``, none of which is an input camera."""
    return _cameras([0.7, 2.9, 5.0], [0.3, -0.4, 0.9], distance=2.7, lens=QUERY_LENS).to(built.device)


def _cameras(azimuths: list[float], elevations: list[float], distance: float, lens: tuple[float, ...]) -> Cameras:
    # Each stands farther away than the one before.
    eyes = sphere_points(azimuths, elevations) * distance * (1 + 0.03 * torch.arange(len(azimuths)))[:, None]
    looking = Cameras.look_at(eyes, target=torch.tensor([0.05, -0.03, 0.04]))
    # No camera stands upright: each is turned about its axis by an angle of its own.
    turned = [turn(looking[k], ABOUT_Z, 0.2 + 0.13 * k).camera_to_world for k in range(len(azimuths))]
    return Cameras(torch.stack(turned)[None], torch.tensor(lens).expand(1, len(azimuths), 4))


def turn(cameras: Cameras, axis: int, angle: float) -> Cameras:
    """Turn cameras about one of their own axes, radians."""
    first, second = (axis + 1) % 3, (axis + 2) % 3
    rotation = torch.eye(4, device=cameras.intrinsics.device)
    cos, sin = torch.tensor([angle]).cos().item(), torch.tensor([angle]).sin().item()
    rotation[first, first] = rotation[second, second] = cos
    rotation[first, second], rotation[second, first] = -sin, sin
    return Cameras(cameras.camera_to_world @ rotation, cameras.intrinsics)


def rolled(cameras: Cameras) -> Cameras:
    """Return the cameras of pictures that are turned by 90 degrees: the right edge becomes the top."""
    right, down, forward, centre = cameras.camera_to_world.unbind(-1)
    fx, fy, cx, cy = cameras.intrinsics.unbind(-1)
    pose = torch.stack([down, -right, forward, centre], dim=-1)
    return Cameras(pose, torch.stack([fy, fx, cy, 1 - cx], dim=-1))


def rolled_pixels(pixels: Tensor) -> Tensor:
    """Return where pixels ``... 2`` lie in a picture turned like those of ``rolled``."""
    return torch.stack([pixels[..., 1], 1 - pixels[..., 0]], dim=-1)


def distances(nearest: float, farthest: float, count: int) -> Tensor:
    """Return even distances, ``r``, at which rays pass the origin, world units."""
    return torch.linspace(nearest, farthest, count)


def grazing(count: int) -> Tensor:
    """Return distances ``r`` from 0 to the sphere's radius, dense there, where rays are short and seldom opaque."""
    return 0.999 * torch.linspace(0, torch.pi / 2, count).sin()


def pixels_passing(cameras: Cameras, passing: Tensor) -> Tensor:
    """Return pixels ``1 m r 2`` whose rays pass the origin at distances ``r``, on sides drawn at random."""
    generator, count = torch.Generator().manual_seed(1), len(passing)
    angle = torch.rand(*cameras.shape, count, generator=generator) * 2 * torch.pi
    away = cameras.origins.cpu()
    distance = away.norm(dim=-1, keepdim=True)
    axis = away / distance
    side = torch.linalg.cross(axis, torch.tensor([0.0, 0.0, 1.0]).expand_as(axis))
    side = side / side.norm(dim=-1, keepdim=True)
    other = torch.linalg.cross(axis, side)
    # The foot of the perpendicular from the origin to such a ray lies this far towards the camera.
    towards, across = passing.square() / distance, passing * (1 - (passing / distance).square()).sqrt()
    points = (
        towards[..., None] * axis[..., None, :]
        + (across * angle.cos())[..., None] * side[..., None, :]
        + (across * angle.sin())[..., None] * other[..., None, :]
    )
    pixels, _ = cameras.project(points.to(cameras.intrinsics.device))
    return pixels


def needs_novel_views(built: Built) -> None:
    """Stop the check of a field that renders no other cameras than those that it saw."""
    if not built.module.ports.novel_views:
        raise NotApplicableError("it renders no cameras but those that it saw")


def scene_of(built: Built, views: PosedViews) -> Any:
    """Fuse the views by a field."""
    return built.module.fuse(views.features, views.cameras, views.t)


def render_pixels(
    scene: Any, cameras: Cameras, pixels: Tensor, normals: bool = False, size: tuple[int, int] = SIZE
) -> Rendering:
    """Render pixels ``1 m r 2`` of cameras ``1 m``, whose maps have the size (h, w)."""
    rendering: Rendering = scene.render(cameras, size, pixels, normals=normals)
    return rendering


def sphere_depths(cameras: Cameras, pixels: Tensor) -> tuple[Rays, Tensor, Tensor]:
    """Return the rays of pixels, and at which depths ``1 m r`` they enter and leave the unit sphere."""
    rays = cameras.rays(SIZE, pixels)
    near, far, _ = intersect_sphere(rays)
    return rays, near, far
