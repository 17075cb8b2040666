"""Pinhole cameras in one convention.

Camera-to-world 4x4 matrices with OpenCV axes (x right, y down, z forward) in a right-handed world with z up.
Intrinsics (fx, fy, cx, cy) are fractions of the image's width and height, so the same numbers serve pixels and
latents of any resolution. Pixel i of an axis with ``size`` pixels is centred at (i + 0.5) / size.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tunemv3d_core.errors import CameraError

Matrices = TypeVar("Matrices", Tensor, NDArray[np.float64])

_FOCALS = (0.02, 1e4)
"""Shortest and longest focal length, fractions of the picture: fields of view of 175 and 0.006 degrees."""
_FARTHEST_CENTRE = 100.0
"""Of principal points, fractions of the picture: a crop may lie far off the axis."""


@dataclass(frozen=True)
class Rays:
    """Rays in world space. ``origins + s * directions`` lies at depth s, because directions have z = 1 in the camera.

    Attributes:
        origins: ``... r 3``, world units.
        directions: ``... r 3``, not normalised.
    """

    origins: Tensor
    directions: Tensor


@dataclass(frozen=True)
class Cameras:
    """A batch of pinhole cameras of any batch shape, usually ``b n``.

    Attributes:
        camera_to_world: ``... 4 4``, OpenCV axes, world z up.
        intrinsics: ``... 4``: fx, fy, cx, cy as fractions of the image's width (fx, cx) and height (fy, cy).
    """

    camera_to_world: Tensor
    intrinsics: Tensor

    def __post_init__(self) -> None:
        pose, intrinsics = tuple(self.camera_to_world.shape), tuple(self.intrinsics.shape)
        if pose[-2:] != (4, 4) or intrinsics[-1:] != (4,) or pose[:-2] != intrinsics[:-1]:
            raise CameraError(f"cameras need poses '... 4 4' and intrinsics '... 4'; got {pose} and {intrinsics}")

    @property
    def shape(self) -> torch.Size:
        """The batch shape."""
        return self.intrinsics.shape[:-1]

    @property
    def origins(self) -> Tensor:
        """Camera centres, ``... 3``, world units."""
        return self.camera_to_world[..., :3, 3]

    def __getitem__(self, index: object) -> "Cameras":
        """Index the batch axes, as for a tensor of shape ``shape``."""
        return Cameras(self.camera_to_world[index], self.intrinsics[index])  # type: ignore[index]

    def to(self, *args: object, **kwargs: object) -> "Cameras":
        """Move or cast both tensors, as ``Tensor.to``."""
        return Cameras(self.camera_to_world.to(*args, **kwargs), self.intrinsics.to(*args, **kwargs))  # type: ignore[call-overload]

    def expand(self, *shape: int) -> "Cameras":
        """Expand the batch shape without copying, as ``Tensor.expand``."""
        return Cameras(self.camera_to_world.expand(*shape, 4, 4), self.intrinsics.expand(*shape, 4))

    @staticmethod
    def cat(cameras: Sequence["Cameras"], dim: int = 0) -> "Cameras":
        """Concatenate along a batch axis (``dim`` >= 0)."""
        return Cameras(
            torch.cat([c.camera_to_world for c in cameras], dim), torch.cat([c.intrinsics for c in cameras], dim)
        )

    @staticmethod
    def look_at(
        eyes: Tensor, focal: float | Tensor = 1.3, target: Tensor | None = None, aspect: float = 1.0
    ) -> "Cameras":
        """Return cameras at ``eyes`` (``... 3``) that look at ``target`` (default: the origin), the world's z upwards.

        Args:
            eyes: camera centres, world units.
            focal: as a fraction of the image's shorter side.
            target: ``... 3``.
            aspect: width over height of the image; pixels are square, so that fy = fx * aspect.

        Raises:
            CameraError: an eye lies on its target.
        """
        forward = (0 if target is None else target) - eyes
        distance = forward.norm(dim=-1, keepdim=True)
        if not bool((distance > 1e-6).all()):
            raise CameraError("a camera lies on the point that it looks at")
        forward = forward / distance
        up = torch.zeros_like(forward)
        up[..., 2] = 1.0
        # Straight up or down, "up" gives no direction: the image's top then points along +y.
        polar = forward[..., 2:].abs() > 1 - 1e-6
        up = torch.where(polar, torch.tensor([0.0, 1.0, 0.0]).to(up), up)
        right = torch.linalg.cross(forward, up)
        right = right / right.norm(dim=-1, keepdim=True)
        down = torch.linalg.cross(forward, right)
        pose = torch.zeros(*eyes.shape[:-1], 4, 4, dtype=eyes.dtype, device=eyes.device)
        pose[..., :3, :] = torch.stack([right, down, forward, eyes], dim=-1)
        pose[..., 3, 3] = 1.0
        focal_ = torch.as_tensor(focal, dtype=eyes.dtype, device=eyes.device).expand(eyes.shape[:-1])
        half = torch.full_like(focal_, 0.5)
        fx, fy = focal_ * min(1.0, 1 / aspect), focal_ * min(1.0, aspect)
        return Cameras(pose, torch.stack([fx, fy, half, half], dim=-1))

    @staticmethod
    def orbit(
        views: int,
        elevation: float | Sequence[float] = 20.0,
        distance: float = 2.7,
        focal: float = 1.3,
        azimuth: float = 0.0,
        aspect: float = 1.0,
    ) -> "Cameras":
        """Return ``views`` cameras evenly around the object, shape ``(views,)``.

        Args:
            views: how many.
            elevation: degrees above the horizon, one number or one per view.
            distance: from the origin, world units; must exceed 1, the radius of the object's sphere.
            focal: fraction of the image's shorter side.
            azimuth: azimuth of the first view, degrees. 0 looks along +y (at the object's front); it grows
                counter-clockwise as seen from above.
            aspect: width over height of the image.

        Raises:
            CameraError: no views, cameras inside the object's sphere, or a wrong number of elevations or no numbers.
        """
        if views < 1:
            raise CameraError(f"an orbit needs at least one view, not {views}")
        if distance <= 1:
            raise CameraError(f"distance {distance} puts the cameras inside the object's unit sphere; use more than 1")
        elevations = [float(elevation)] * views if isinstance(elevation, (int, float)) else list(elevation)
        if len(elevations) != views:
            raise CameraError(f"{len(elevations)} elevations for {views} views: give one number or one per view")
        if not all(math.isfinite(e) for e in elevations):
            raise CameraError(f"an elevation is not a finite number of degrees: {elevation}")
        azimuths = [math.radians(azimuth + 360.0 * i / views) for i in range(views)]
        return Cameras.look_at(
            sphere_points(azimuths, [math.radians(e) for e in elevations]) * distance, focal, aspect=aspect
        )

    def check(self) -> "Cameras":
        """Return self if every pose is finite, rigid and outside the object, and every lens is one that can be.

        Raises:
            CameraError: naming the first camera that is not, and why.
        """
        # On the CPU: Apple's devices have no float64.
        pose = self.camera_to_world.reshape(-1, 4, 4).cpu().double()
        lenses = self.intrinsics.reshape(-1, 4).cpu()
        focal, centre = lenses[:, :2], lenses[:, 2:]
        rotation = pose[:, :3, :3]
        identity = torch.eye(3, dtype=pose.dtype, device=pose.device)
        skew = (rotation @ rotation.mT - identity).abs().amax((1, 2))
        faults = {
            "holds a number that is not finite": ~pose.isfinite().all(-1).all(-1),
            "is not rigid (its rotation scales or shears)": ~(skew < 1e-3),
            "is mirrored (determinant -1)": torch.linalg.det(rotation) < 0,
            "has a last row other than 0 0 0 1": (pose[:, 3] - pose.new_tensor([0, 0, 0, 1])).abs().amax(-1) > 1e-6,
            "has a focal length that is not positive": ~(focal > 0).all(-1),
            f"has a focal length outside {_FOCALS[0]:g} to {_FOCALS[1]:g} picture widths; in files it is in pixels": (
                ~((focal > _FOCALS[0]) & (focal < _FOCALS[1])).all(-1)
            ),
            f"has a principal point that is not finite or over {_FARTHEST_CENTRE:g} pictures away; in files it is in "
            "pixels": ~(centre.abs() < _FARTHEST_CENTRE).all(-1),
            "lies inside the object's unit sphere: move it to more than 1 from the origin, or scale all camera "
            "positions so that the object's radius is at most 0.9": pose[:, :3, 3].norm(dim=-1) <= 1,
        }
        for fault, bad in faults.items():
            if bool(bad.any()):
                first, views = int(bad.nonzero()[0]), self.shape[-1] if self.shape else 1
                of_object = f" of object {first // views}" if len(bad) > views else ""
                raise CameraError(f"camera {first % views}{of_object} {fault}")
        return self

    def rays(self, size: tuple[int, int], pixels: Tensor | None = None) -> Rays:
        """Return rays through the pixel centres of an image of ``size`` (h, w), row by row, or through given pixels.

        Args:
            size: (h, w); ignored where ``pixels`` is given.
            pixels: ``... r 2``, (x, y) as fractions of the image's width and height.

        Returns:
            Rays of shape ``... (h w)`` or ``... r``.
        """
        if pixels is None:
            pixels = pixel_centres(size, device=self.intrinsics.device, dtype=self.intrinsics.dtype)
        focal, centre = self.intrinsics[..., None, :2], self.intrinsics[..., None, 2:]
        plane = (pixels - centre) / focal
        in_camera = torch.cat([plane, torch.ones_like(plane[..., :1])], dim=-1)
        directions = in_camera @ self.camera_to_world[..., :3, :3].mT
        return Rays(self.origins[..., None, :].expand_as(directions), directions)

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Project world points into every camera.

        Args:
            points: ``... p 3`` with the cameras' batch shape, or one that broadcasts with it.

        Returns:
            pixels ``... p 2`` as fractions of the image (inside it: 0 to 1) and depth ``... p`` (z in the camera,
            negative behind it). Where depth is not positive the pixels mean nothing.
        """
        in_camera = (points - self.origins[..., None, :]) @ self.camera_to_world[..., :3, :3]
        depth = in_camera[..., 2]
        safe = torch.where(depth.abs() < 1e-6, torch.full_like(depth, 1e-6), depth)
        pixels = in_camera[..., :2] / safe[..., None] * self.intrinsics[..., None, :2] + self.intrinsics[..., None, 2:]
        return pixels, depth


def pixel_centres(
    size: tuple[int, int], device: torch.device | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return the centres of an (h, w) image's pixels as (x, y) fractions, ``(h w) 2``, row by row."""
    h, w = size
    y = (torch.arange(h, device=device, dtype=dtype) + 0.5) / h
    x = (torch.arange(w, device=device, dtype=dtype) + 0.5) / w
    grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([grid_x, grid_y], dim=-1).reshape(h * w, 2)


def sphere_points(azimuths: Sequence[float], elevations: Sequence[float]) -> Tensor:
    """Return points of the unit sphere, ``n 3``, at angles in radians.

    Azimuth 0 is -y (in front) and grows counter-clockwise as seen from above.
    """
    azimuth, elevation = torch.tensor(azimuths, dtype=torch.float32), torch.tensor(elevations, dtype=torch.float32)
    return torch.stack([azimuth.sin() * elevation.cos(), -azimuth.cos() * elevation.cos(), elevation.sin()], dim=-1)


def intersect_sphere(rays: Rays, radius: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Find where rays enter and leave the sphere of ``radius`` around the origin.

    Returns:
        near, far and hit, each ``... r``: depths (near >= 0), equal where the ray misses; hit is boolean.
    """
    a = rays.directions.square().sum(-1)
    half_b = (rays.origins * rays.directions).sum(-1)
    c = rays.origins.square().sum(-1) - radius**2
    discriminant = half_b.square() - a * c
    root = discriminant.clamp(min=0).sqrt()
    near, far = ((-half_b - root) / a).clamp(min=0), (-half_b + root) / a
    hit = (discriminant > 0) & (far > 0)
    near = torch.where(hit, near, torch.zeros_like(near))
    return near, torch.where(hit, far, near), hit


def opengl_to_opencv(camera_to_world: Matrices) -> Matrices:
    """Turn camera-to-world matrices ``... 4 4`` from OpenGL's camera axes to OpenCV's, or back: it is its own inverse.

    OpenGL's, which Blender and nerfstudio use, are x right, y up, z backward; ours are x right, y down, z forward.
    """
    signs = [1.0, -1.0, -1.0, 1.0]  # of the matrix's columns
    if isinstance(camera_to_world, Tensor):
        return camera_to_world * camera_to_world.new_tensor(signs)
    return np.asarray(camera_to_world * np.array(signs))
