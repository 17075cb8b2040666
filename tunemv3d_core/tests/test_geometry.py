"""A shape in a picture's size: the same as rendering every pixel, at a part of the rays."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from tunemv3d_core.cameras import Cameras, intersect_sphere, pixel_centres
from tunemv3d_core.types import Rendering
from tunemv3d_core.viz.geometry import render_shape, surface_pictures


@dataclass
class Ball:
    """A ball per object, and how many rays it was asked for."""

    radii: tuple[float, ...]
    rays: list[int] = field(default_factory=list)
    has_normals: bool = True

    def render(
        self, cameras: Cameras, size: tuple[int, int], pixels: Tensor | None = None, normals: bool = False
    ) -> Rendering:
        rays = cameras.rays(size, pixels)
        self.rays.append(rays.origins.shape[-2])
        parts = [intersect_sphere(_one(rays, b), radius) for b, radius in enumerate(self.radii)]
        near, hit = torch.stack([p[0] for p in parts]), torch.stack([p[2] for p in parts])
        facing = (rays.origins + near[..., None] * rays.directions) * hit[..., None]
        opacity, depth = hit.float(), near * hit

        def shaped(z: Tensor) -> Tensor:
            return z if pixels is not None else z.unflatten(-1, size)

        facing = shaped(facing.mT)
        return Rendering(2 * facing, shaped(opacity), shaped(depth), facing if normals and self.has_normals else None)

    def losses(self) -> dict[str, Any]:
        return {}


def _one(rays: Any, b: int) -> Any:
    return type(rays)(rays.origins[b], rays.directions[b])


def test_it_is_what_every_pixel_renders_to_for_a_part_of_the_rays() -> None:
    scene, cameras = Ball((0.4, 0.15)), Cameras.orbit(3)[None].expand(2, 3)
    coarse, whole = scene.render(cameras, (12, 16)), scene.render(cameras, (48, 64), normals=True)
    found = render_shape(scene, cameras, (48, 64), coarse.opacity)
    for name in ("values", "opacity", "depth", "normals"):
        torch.testing.assert_close(getattr(found, name), getattr(whole, name), msg=name)
    assert scene.rays[-1] < 0.35 * scene.rays[-2]


@pytest.mark.parametrize("radius", [0.05, 1e-4])
def test_what_is_smaller_than_a_cell_is_whole_or_not_there(radius: float) -> None:
    scene, cameras = Ball((radius,)), Cameras.orbit(2)[None]
    coarse, whole = scene.render(cameras, (9, 9)), scene.render(cameras, (72, 72), normals=True)
    found = render_shape(scene, cameras, (72, 72), coarse.opacity)
    assert torch.equal(found.opacity, whole.opacity if coarse.opacity.any() else torch.zeros_like(whole.opacity))


def test_nothing_and_a_field_without_normals() -> None:
    scene, cameras = Ball((1e-9,), has_normals=False), Cameras.orbit(2)[None]
    found = render_shape(scene, cameras, (8, 8), scene.render(cameras, (4, 4)).opacity)
    assert found.normals is None and not found.opacity.any() and found.depth.shape == (1, 2, 8, 8)


class NoNormals:
    """Seen on the left half, nearer at the top; every object a different one."""

    def render(
        self, cameras: Cameras, size: tuple[int, int], pixels: Tensor | None = None, normals: bool = False
    ) -> Rendering:
        at = pixel_centres(size).expand(*cameras.shape, -1, 2) if pixels is None else pixels
        opacity = (at[..., 0] < 0.5).float()
        depth = (2 + (at[..., 1] * size[0]).floor() / (size[0] - 1)) * opacity
        depth = depth * torch.arange(1.0, 1.0 + len(depth))[:, None, None]
        if pixels is None:
            opacity, depth = (torch.unflatten(z, -1, size) for z in (opacity, depth))
        return Rendering(torch.zeros(*cameras.shape, 4, *opacity.shape[2:]), opacity, depth)

    def losses(self) -> dict[str, Any]:
        return {}


def test_a_surface_without_normals_is_shown_by_its_depth() -> None:
    scene, cameras = NoNormals(), Cameras.orbit(3)[None].expand(2, 3)
    pictures = surface_pictures(scene, cameras, (5, 6), scene.render(cameras, (5, 6)))
    assert pictures.shape == (2, 3, 3, 5, 6)
    torch.testing.assert_close(pictures[..., 0], torch.tensor([1.0, 0.8, 0.6, 0.4, 0.2]).expand(2, 3, 3, 5))
    assert not pictures[..., 3:].any()


def test_a_surface_is_lit_from_its_own_camera() -> None:
    """Balls from so far that rays are nearly parallel: the cosine is by hand. The balls' normals are of their radii."""
    scene, cameras = Ball((0.4, 0.2)), Cameras.orbit(2, distance=40.0)[None].expand(2, 2)
    cameras = Cameras(cameras.camera_to_world, torch.tensor([40.0, 40.0, 0.5, 0.5]).expand(2, 2, 4))
    pictures = surface_pictures(scene, cameras, (41, 41), scene.render(cameras, (21, 21)))
    for b, radius in enumerate((0.4, 0.2)):
        for pixels in (0, 4):
            cosine = (1 - (pixels / 41 / radius) ** 2) ** 0.5
            lit = torch.tensor(0.25 + 0.75 * radius * cosine).expand(2, 3)
            torch.testing.assert_close(pictures[b, :, :, 20, 20 + pixels], lit, atol=5e-3, rtol=0)
    assert not pictures[..., 0, 0].any()
