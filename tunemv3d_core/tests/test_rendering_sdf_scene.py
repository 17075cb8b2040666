"""Whole renders against a naive float64 ray and against the analytic projection of a sphere and a box."""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from naive_rendering import naive_importance_sample, naive_ray
from rendered_shapes import box, formula_scene, sphere, wavy
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.types import Rendering

HALF = (0.45, 0.3, 0.35)
HARD = 0.7
"""s = exp(7), about 1,100: a surface a thousandth of a unit thick."""


def cameras_of(size: tuple[int, int]) -> Cameras:
    """Two cameras whose cells are not square in the world and whose centres are not the image's."""
    cameras = Cameras.orbit(2, elevation=(25.0, -10.0), distance=2.6, azimuth=35.0)
    intrinsics = torch.tensor([1.25, 1.45, 0.47, 0.54]).expand(2, 4)
    assert size[0] != size[1]
    return Cameras(cameras.camera_to_world, intrinsics)[None]


@pytest.mark.parametrize("variance", [0.0, 0.3, 0.57, 0.92])  # s = 1, 20, 300, 1e4
@pytest.mark.parametrize(("samples", "fine"), [(14, 0), (8, 6)])
def test_rendering_is_the_naive_ray(variance: float, samples: int, fine: int) -> None:
    def shape(points: Tensor) -> Tensor:
        return torch.minimum(sphere(points, 0.4), box(points, (0.7, 0.03, 0.03)))

    s = math.exp(10 * variance)
    scene = formula_scene(shape, samples=samples, fine_samples=fine, variance=variance, radius=0.9)
    camera = Cameras.orbit(1, elevation=20.0, azimuth=25.0)[None]
    pixels = torch.rand(1, 1, 60, 2, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2
    seen = scene.render(camera, (8, 8), pixels)
    rays = camera.to(torch.float64).rays((8, 8), pixels.double())
    checked = 0
    for r in range(60):
        origin, direction = rays.origins[0, 0, r], rays.directions[0, 0, r]
        a, half_b = float(direction @ direction), float(origin @ direction)
        discriminant = half_b**2 - a * (float(origin @ origin) - 0.9**2)
        if discriminant <= 0:
            assert float(seen.opacity[0, 0, r]) == 0
            continue
        near, far = ((-half_b + sign * math.sqrt(discriminant)) / a for sign in (-1, 1))
        depths = np.linspace(near, far, samples).tolist()

        if fine:
            lengths = [(after - before) * math.sqrt(a) for before, after in pairwise(depths)]
            first = shape(along(origin, direction, depths)).tolist()
            depths = sorted(depths + naive_importance_sample(first, depths, lengths, s, fine))
        points = along(origin, direction, depths)
        value, opacity, depth, weights = naive_ray(shape(points).tolist(), wavy(points)[:, 3].tolist(), depths, s)
        assert min(weights) >= 0 and sum(weights) <= 1 + 1e-9
        assert float(seen.opacity[0, 0, r]) == pytest.approx(opacity, abs=5e-3 if s > 1e3 else 1e-4)
        assert float(seen.values[0, 0, 3, r]) == pytest.approx(value, abs=5e-3 if s > 1e3 else 1e-4)
        assert float(seen.depth[0, 0, r]) == pytest.approx(depth, abs=5e-3 if s > 1e3 else 1e-3)
        checked += opacity > 0.1
    assert checked > 10


def along(origin: Tensor, direction: Tensor, depths: list[float]) -> Tensor:
    return origin + torch.tensor(depths, dtype=torch.float64)[:, None] * direction


@pytest.mark.parametrize("variance", [0.0, 0.92])
@pytest.mark.parametrize("offset", [-3.0, 50.0])
def test_deep_inside_and_far_outside_give_numbers(variance: float, offset: float) -> None:
    scene = formula_scene(lambda points: sphere(points) + offset, fine_samples=8, variance=variance)
    seen = scene.render(Cameras.orbit(2)[None], (6, 5), normals=True)
    assert seen.normals is not None
    for result in (seen.values, seen.opacity, seen.depth, seen.normals):
        assert result.isfinite().all()
    assert seen.opacity.min() >= 0 and seen.opacity.max() <= 1
    assert offset < 0 or seen.opacity.max() < 1e-4 or variance == 0


@pytest.mark.parametrize("size", [(24, 40), (48, 80), (40, 30), (80, 60)])
def test_a_sphere_lands_where_the_projection_says(size: tuple[int, int]) -> None:
    seen = render(lambda points: sphere(points, 0.5), size)
    cameras = cameras_of(size)
    # Its outline from a camera that looks at it is an ellipse around the principal point.
    axes = cameras.intrinsics[0, 0].double().numpy() * [size[1], size[0], size[1], size[0]]
    tangent = 0.5 / math.sqrt(2.6**2 - 0.5**2)
    reach = np.hypot(*((cell_centres(size) - axes[2:]) / (tangent * axes[:2])).T)
    for view in range(2):
        # Where the ellipse's level is 1 + d, its outline is at least d times the shorter half-axis away.
        outline_holds(seen.opacity[0, view], (1 - reach) * tangent * axes[:2].min())
        points, normals, solid = surface(seen, cameras, view, size)
        # Rays through the rim graze the sphere: a depth there is as uncertain as their sections are long.
        outward = points / points.norm(dim=-1, keepdim=True)
        rays = cameras.rays(size).directions[0, view]
        facing = solid & ((outward * rays).sum(-1) / rays.norm(dim=-1) < -0.4)
        assert facing.sum() > 60
        assert (points.norm(dim=-1) - 0.5)[facing].abs().max() < 5e-3
        assert (normals - outward)[facing].abs().max() < 5e-3


@pytest.mark.parametrize("size", [(24, 40), (48, 80), (40, 30), (80, 60)])
def test_a_box_lands_where_the_projection_says(size: tuple[int, int]) -> None:
    seen = render(lambda points: box(points, HALF), size)
    cameras = cameras_of(size)
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * HALF
    for view in range(2):
        pose = cameras.camera_to_world[0, view].double().numpy()
        in_camera = (corners - pose[:3, 3]) @ pose[:3, :3]
        fx, fy, cx, cy = cameras.intrinsics[0, view].double().numpy()
        projected = in_camera[:, :2] / in_camera[:, 2:] * [fx, fy] + [cx, cy]
        outline_holds(seen.opacity[0, view], depth_in_hull(cell_centres(size), projected * [size[1], size[0]]))
        points, normals, solid = surface(seen, cameras, view, size)
        reached = points.abs() / torch.tensor(HALF)
        # Near edges, finite differences and the mean point of a ray see two faces.
        inside = solid & (reached.sort(dim=-1).values[:, 1] < 0.9)
        assert inside.sum() > 60
        assert (reached.amax(-1) - 1)[inside].abs().max() < 0.02
        expected = torch.nn.functional.one_hot(reached.argmax(-1), 3) * points.sign()
        assert (normals - expected)[inside].abs().max() < 1e-3


def test_eikonal_and_sparsity_are_exact_on_known_fields() -> None:
    def slope(points: Tensor) -> Tensor:
        return 1.7 * points @ points.new_tensor([0.6, 0.0, 0.8])

    def bent(points: Tensor) -> Tensor:
        """Slope 1 near the surface and 3 further away."""
        x = points[..., 0]
        return x + 2 * x.sign() * (x.abs() - 0.25).clamp(min=0)

    assert float(formula_scene(slope).losses()["eikonal"]) == pytest.approx(0.7**2, abs=1e-4)
    assert float(formula_scene(bent, eikonal_points=256).losses()["eikonal"]) == pytest.approx(0, abs=1e-4)
    flat = formula_scene(lambda points: torch.full_like(points[..., 0], -0.02), sparsity_scale=50.0)
    losses = flat.losses()
    assert float(losses["sparsity"]) == pytest.approx(math.exp(-1), abs=1e-6)
    assert float(losses["eikonal"]) == pytest.approx(1, abs=1e-6), "no slope at all"


def render(shape: Callable[[Tensor], Tensor], size: tuple[int, int]) -> Rendering:
    scene = formula_scene(shape, samples=32, fine_samples=32, variance=HARD, radius=0.9)
    return scene.render(cameras_of(size), size, normals=True)


def surface(seen: Rendering, cameras: Cameras, view: int, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Points and normals ``r 3`` that a view shows, and which of its cells show the object alone."""
    assert seen.normals is not None
    rays = cameras.rays(size)
    points = rays.origins[0, view] + seen.depth[0, view].flatten()[:, None] * rays.directions[0, view]
    return points, seen.normals[0, view].flatten(1).mT, seen.opacity[0, view].flatten() > 0.99


def cell_centres(size: tuple[int, int]) -> np.ndarray:
    """(x, y) of every cell's centre in cells, row by row."""
    y, x = np.indices(size) + 0.5
    return np.stack([x.ravel(), y.ravel()], axis=1)


def outline_holds(opacity: Tensor, depth: np.ndarray) -> None:
    """Cells whose centres lie over a tenth of a cell inside the outline are opaque, those outside it are empty."""
    opaque = opacity.flatten().numpy() > 0.5
    assert opaque[depth > 0.1].all() and not opaque[depth < -0.1].any()
    assert min(((depth > 0.1) & (depth < 0.6)).sum(), ((depth < -0.1) & (depth > -0.6)).sum()) > 5, "cells at the edge"


def depth_in_hull(centres: np.ndarray, points: np.ndarray) -> np.ndarray:
    """How far points lie within the convex hull of others (negative outside): least distance to its edges' lines."""
    depths = []
    for start in points:
        for end in points:
            along = end - start
            normal = np.array([-along[1], along[0]]) / max(np.hypot(*along), 1e-9)
            if along.any() and ((points - start) @ normal >= -1e-9).all():
                depths.append((centres - start) @ normal)
    return np.min(depths, axis=0)


@pytest.mark.parametrize("size", [(48, 32), (32, 48)], ids=["2:3", "3:2"])
def test_a_sphere_stays_round_on_rectangles(size: tuple[int, int]) -> None:
    """Its outline has the analytic radius in both directions, to a tenth of a cell."""
    scene = formula_scene(sphere, samples=256, variance=0.8)
    cameras = Cameras.orbit(3, elevation=25.0, aspect=size[1] / size[0])[None]
    opacity = scene.render(cameras, size).opacity.double()
    expected = min(size) * 1.3 * math.tan(math.asin(0.5 / 2.7))
    rows, columns = torch.meshgrid(*(torch.arange(side) + 0.5 for side in size), indexing="ij")
    for view in opacity[0]:
        mass = view.sum()
        middle = [float((view * z).sum() / mass) for z in (rows, columns)]
        assert middle == pytest.approx([side / 2 for side in size], abs=0.02)
        # The second moment of a disc is r^2 / 4 along each axis.
        radii = [
            float(2 * ((view * (z - m) ** 2).sum() / mass).sqrt()) for z, m in zip((rows, columns), middle, strict=True)
        ]
        assert radii == pytest.approx([expected, expected], abs=0.1)


@pytest.mark.parametrize("recomputed", [False, True])
@pytest.mark.parametrize("fine", [0, 6])
def test_the_size_of_chunks_changes_no_sample_and_no_gradient(fine: int, recomputed: bool) -> None:
    """Each ray is rendered apart: what it gives is the same to the last bit, sums over rays to rounding."""
    drawn = []
    for chunk in (10**6, 500, 64):
        options = {"samples": 14, "fine_samples": fine, "chunk_size": chunk, "gradient_checkpointing": recomputed}
        scene = formula_scene(lambda points: box(points, HALF), objects=2, **options)
        scene._jitter = True
        scene._variance.requires_grad_()
        torch.manual_seed(5)
        cameras = cameras_of((6, 8))
        seen = scene.render(
            Cameras(*(part.expand(2, *part.shape[1:]) for part in (cameras.camera_to_world, cameras.intrinsics))),
            (6, 8),
        )
        seen.opacity.square().sum().backward()
        drawn.append((seen, scene._variance.grad))
    for seen, gradient in drawn[1:]:
        assert torch.equal(seen.opacity, drawn[0][0].opacity) and torch.equal(seen.values, drawn[0][0].values)
        assert torch.allclose(gradient, drawn[0][1], rtol=1e-5)
    assert 0.05 < float(drawn[0][0].opacity.detach().mean()) < 0.9
