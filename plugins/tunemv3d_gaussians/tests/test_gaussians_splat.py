from dataclasses import replace

import numpy as np
import pytest
import torch
from gaussians_naive import naive, random_gaussians

from tunemv3d_core.cameras import Cameras, pixel_centres
from tunemv3d_core.rendering.volume import RayOutputs
from tunemv3d_gaussians.scene import GaussianScene
from tunemv3d_gaussians.spec import GaussiansSpec
from tunemv3d_gaussians.splat import Gaussians, list_tiles, project, splat


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def scene(gaussians: Gaussians, **options: object) -> GaussianScene:
    spec = GaussiansSpec(type="gaussians", **({"tile": 2, "listed": 10_000} | options))  # type: ignore[arg-type]
    objects = len(gaussians.means)
    return GaussianScene(
        gaussians, torch.zeros(objects, 1, 3, 8, 8), Cameras.orbit(1)[None], (8, 8), spec, torch.zeros(objects)
    )


def told(seen: RayOutputs | object) -> np.ndarray:
    values, opacity, depth = (getattr(seen, name)[0].detach().double() for name in ("values", "opacity", "depth"))
    return torch.cat([values.flatten(2).mT, opacity.flatten(1)[..., None], depth.flatten(1)[..., None]], -1).numpy()


@pytest.mark.parametrize("size", [(8, 12), (7, 5)])
def test_maps_are_those_of_loops_over_single_gaussians(size: tuple[int, int]) -> None:
    """(8, 12) is composited by tiles, (7, 5) pixel by pixel: four tiles a side are no whole number of its pixels."""
    gaussians, cameras = random_gaussians(1, 60), Cameras.orbit(3, elevation=[-30.0, 10.0, 80.0], focal=1.1)
    seen = scene(gaussians).render(cameras[None], size)
    blur = 0.1 * max(1, size[0] * size[1] / 64)
    expected = naive(gaussians, cameras, size, pixel_centres(size).expand(3, -1, -1), blur)
    np.testing.assert_allclose(told(seen), expected, rtol=2e-4, atol=2e-5)


def test_pixels_anywhere_are_those_of_the_loops() -> None:
    gaussians, cameras, size = random_gaussians(1, 40), Cameras.orbit(2), (16, 16)
    pixels = torch.rand(1, 2, 9, 2)
    seen = scene(gaussians).render(cameras[None], size, pixels)
    assert seen.values.shape == (1, 2, 3, 9) and seen.opacity.shape == seen.depth.shape == (1, 2, 9)
    np.testing.assert_allclose(told(seen), naive(gaussians, cameras, size, pixels[0], 0.4), rtol=2e-4, atol=2e-5)


def test_a_larger_map_samples_the_same_picture_more_finely() -> None:
    """What was learned at the latents' size is no cloud of specks at the pictures'."""
    gaussians, cameras, pixels = random_gaussians(1, 40), Cameras.orbit(2)[None], torch.rand(1, 2, 30, 2)
    gaussians = replace(gaussians, axes=gaussians.axes * 0.2)
    small, large = (scene(gaussians).render(cameras, (side, side), pixels) for side in (8, 32))
    torch.testing.assert_close(large.values, small.values, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(large.opacity, small.opacity, rtol=1e-4, atol=1e-5)


def test_objects_and_cameras_of_a_batch_do_not_mix() -> None:
    gaussians = random_gaussians(2, 30)
    cameras = Cameras.cat([Cameras.orbit(2)[None], Cameras.orbit(2, elevation=60.0)[None]])
    both = scene(gaussians).render(cameras, (8, 8))
    for i in range(2):
        own = Gaussians(
            *(z[i : i + 1] for z in (gaussians.means, gaussians.axes, gaussians.opacities, gaussians.values))
        )
        alone = scene(own).render(cameras[i : i + 1], (8, 8))
        torch.testing.assert_close(both.values[i : i + 1], alone.values, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(both.depth[i : i + 1], alone.depth, rtol=1e-5, atol=1e-6)


def test_a_gaussian_behind_a_camera_is_not_seen() -> None:
    camera = Cameras.orbit(1, distance=2.0)
    behind = camera.origins * 1.5
    gaussians = Gaussians(behind[None], 0.1 * torch.eye(3)[None, None], torch.ones(1, 1), torch.ones(1, 1, 1))
    assert not scene(gaussians).render(camera[None], (8, 8)).opacity.any()


def test_short_lists_lose_no_more_than_what_was_left_out() -> None:
    gaussians, cameras, size = random_gaussians(1, 200), Cameras.orbit(2)[None], (16, 16)
    gaussians = replace(gaussians, axes=gaussians.axes * 0.3)
    whole, short = (scene(gaussians, listed=count).render(cameras, size) for count in (10_000, 60))
    splats = project(gaussians, cameras, size, 0.4)
    listed = list_tiles(splats, (4, 4), size, 60)
    left = torch.ones(1, 2, 16, 200).scatter(-1, listed, 0.0).unflatten(2, (4, 4))
    left = left.repeat_interleave(4, 2).repeat_interleave(4, 3).flatten(2, 3)
    away = (pixel_centres(size) * 16)[:, None] - splats.centres[:, :, None]
    a, b, c = splats.conics[:, :, None].unbind(-1)
    falls = -0.5 * (a * away[..., 0] ** 2 + c * away[..., 1] ** 2) - b * away.prod(-1)
    lost = (left * splats.opacities[:, :, None] * falls.exp()).sum(-1).unflatten(-1, size)
    difference = (whole.opacity - short.opacity).abs()
    assert 1e-3 < difference.max() and (difference <= lost + 1e-5).all()
    depths = splats.depths[:, :, None].expand(-1, -1, 16, -1).gather(-1, listed)
    assert (depths.diff(dim=-1) >= 0).all(), "nearest first"


def test_gradients_are_those_of_finite_differences() -> None:
    gaussians = random_gaussians(1, 12)
    # The largest opacity is cut off, where there is no gradient.
    given = [gaussians.means, gaussians.axes, gaussians.opacities * 0.9, gaussians.values]
    given = [z.double().requires_grad_() for z in given]
    camera = Cameras.orbit(1)[None].to(torch.float64)
    pixels = (torch.rand(1, 1, 4, 1, 2, dtype=torch.float64) * 4) + 2

    def seen(*tensors: torch.Tensor) -> torch.Tensor:
        splats = project(Gaussians(*tensors), camera, (8, 8), 0.1)
        listed = list_tiles(splats, (1, 1), (8, 8), 12)
        found = splat(splats, tensors[3], listed, pixels, torch.zeros(1, 1, 4, dtype=torch.long))
        return torch.cat([found.values, found.opacity[..., None], found.depth[..., None]], dim=-1)

    assert torch.autograd.gradcheck(seen, given, eps=1e-6, atol=1e-5, rtol=1e-3)
