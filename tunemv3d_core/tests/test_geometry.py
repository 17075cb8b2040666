"""A shape in a picture's size: the same as rendering every pixel, at a part of the rays."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from tunemv3d_core.cameras import Cameras, intersect_sphere
from tunemv3d_core.geometry import render_shape
from tunemv3d_core.types import Rendering


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
    found = render_shape(scene, cameras, (48, 64), coarse)
    for name in ("values", "opacity", "depth", "normals"):
        torch.testing.assert_close(getattr(found, name), getattr(whole, name), msg=name)
    assert scene.rays[-1] < 0.35 * scene.rays[-2]


@pytest.mark.parametrize("radius", [0.05, 1e-4])
def test_what_is_smaller_than_a_cell_is_whole_or_not_there(radius: float) -> None:
    scene, cameras = Ball((radius,)), Cameras.orbit(2)[None]
    coarse, whole = scene.render(cameras, (9, 9)), scene.render(cameras, (72, 72), normals=True)
    found = render_shape(scene, cameras, (72, 72), coarse)
    assert torch.equal(found.opacity, whole.opacity if coarse.opacity.any() else torch.zeros_like(whole.opacity))


def test_nothing_and_a_field_without_normals() -> None:
    scene, cameras = Ball((1e-9,), has_normals=False), Cameras.orbit(2)[None]
    found = render_shape(scene, cameras, (8, 8), scene.render(cameras, (4, 4)))
    assert found.normals is None and not found.opacity.any() and found.depth.shape == (1, 2, 8, 8)
