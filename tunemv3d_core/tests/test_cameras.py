"""Cameras against an independent package's projection, by closed forms and in their error messages."""

import math

import numpy as np
import pytest
import torch
import trimesh

from tunemv3d_core.cameras import Cameras, Rays, intersect_sphere, pixel_centres
from tunemv3d_core.errors import CameraError


def random_cameras(n: int = 5) -> Cameras:
    generator = torch.Generator().manual_seed(1)
    eyes = torch.randn(n, 3, generator=generator)
    return Cameras.look_at(2.7 * eyes / eyes.norm(dim=-1, keepdim=True), 1.2)


def test_projection_equals_trimesh() -> None:
    """trimesh uses OpenGL axes and pixel intrinsics; both must hit the same pixel."""
    width, height = 640, 480
    camera = Cameras.look_at(torch.tensor([1.5, -2.0, 0.7]), 1.1)
    scene_camera = trimesh.scene.Camera(resolution=(width, height), focal=(1.1 * width, 1.1 * height))
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (20, 3))
    opengl = camera.camera_to_world.double().numpy() @ np.diag([1.0, -1.0, -1.0, 1.0])
    scene = trimesh.Scene(camera=scene_camera, camera_transform=opengl)
    in_camera = trimesh.transform_points(points, np.linalg.inv(scene.camera_transform)) * [1, -1, -1]
    homogeneous = in_camera @ scene_camera.K.T
    expected = homogeneous[:, :2] / homogeneous[:, 2:]
    pixels, depth = camera.project(torch.tensor(points, dtype=torch.float32))
    assert np.allclose(pixels.numpy() * [width, height], expected, atol=1e-2)
    assert np.allclose(depth.numpy(), in_camera[:, 2], atol=1e-5)


def test_rays_and_projection_are_inverse_and_depth_is_z() -> None:
    cameras = random_cameras()
    rays = cameras.rays((6, 9))
    depth = torch.rand(5, 54) + 1
    pixels, z = cameras.project(rays.origins + depth[..., None] * rays.directions)
    assert torch.allclose(z, depth, atol=1e-5)
    assert torch.allclose(pixels, pixel_centres((6, 9)).expand_as(pixels), atol=1e-5)


def test_orbit_sees_the_front_first_and_turns_counter_clockwise() -> None:
    cameras = Cameras.orbit(4, elevation=0, distance=3)
    expected = torch.tensor([[0.0, -3, 0], [3, 0, 0], [0, 3, 0], [-3, 0, 0]])
    assert torch.allclose(cameras.origins, expected, atol=1e-6)
    pixels, _ = cameras[0].project(torch.tensor([[0.1, 0.0, 0.0], [0.0, 0.0, 0.1]]))
    assert pixels[0, 0] > 0.5 and abs(pixels[0, 1] - 0.5) < 1e-6, "world +x is to the right of the front view"
    assert pixels[1, 1] < 0.5, "world +z is up: smaller y"


def test_sphere_intersection_equals_the_closed_form() -> None:
    rays = Rays(torch.tensor([[[0.0, -3, 0], [0.0, -3, 0]]]), torch.tensor([[[0.0, 1, 0], [1.0, 1, 0]]]))
    near, far, hit = intersect_sphere(rays)
    assert hit.tolist() == [[True, False]]
    assert torch.allclose(near[0, 0], torch.tensor(2.0)) and torch.allclose(far[0, 0], torch.tensor(4.0))
    assert near[0, 1] == far[0, 1]


def test_look_straight_down_is_a_rigid_camera() -> None:
    Cameras.look_at(torch.tensor([[0.0, 0.0, 2.5], [0.0, 0.0, -2.5]])).check()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p[1, :3, :3].mul_(1.1), "camera 1 is not rigid"),
        (lambda p: p[2, 0, 3].fill_(math.nan), "camera 2 holds a number that is not finite"),
        (lambda p: p[0, :3, 0].mul_(-1), "camera 0 is mirrored"),
        (lambda p: p[3, 3, 0].fill_(1.0), "camera 3 has a last row"),
    ],
)
def test_a_faulty_camera_is_named(change: object, message: str) -> None:
    pose = random_cameras().camera_to_world.clone()
    change(pose)  # type: ignore[operator]
    with pytest.raises(CameraError, match=message):
        Cameras(pose, random_cameras().intrinsics).check()


def test_cameras_inside_the_object_are_refused() -> None:
    with pytest.raises(CameraError, match="inside the object"):
        Cameras.orbit(8, distance=0.5)
