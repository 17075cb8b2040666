"""Cameras against an independent package's projection, by closed forms and in their error messages."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from tunemv3d_core.cameras import Cameras, Rays, intersect_sphere, opengl_to_opencv, pixel_centres
from tunemv3d_core.errors import CameraError
from tunemv3d_core.io.posed_images import read_object


def random_cameras(n: int = 5) -> Cameras:
    generator = torch.Generator().manual_seed(1)
    eyes = torch.randn(n, 3, generator=generator)
    return Cameras.look_at(2.7 * eyes / eyes.norm(dim=-1, keepdim=True), 1.2)


def trimesh_view(width: int = 64, height: int = 48) -> trimesh.Scene:
    """trimesh's own camera, which follows OpenGL (x right, y up, z backward), with focal lengths that differ."""
    pose = trimesh.transformations.euler_matrix(1.1, 0.2, -0.7)
    pose[:3, 3] = pose[:3, 2] * 2.7 + [0.1, -0.2, 0.15]
    camera = trimesh.scene.Camera(resolution=(width, height), focal=(1.1 * width, 1.6 * height))
    return trimesh.Scene(trimesh.creation.icosphere(), camera=camera, camera_transform=pose)


def same_rays(cameras: Cameras, scene: trimesh.Scene) -> None:
    """Every pixel's ray is trimesh's."""
    origins, directions, pixels = scene.camera_rays()
    width, height = scene.camera.resolution
    rays = cameras.rays((int(height), int(width)))
    # trimesh counts rows from the image's lower edge.
    order = torch.tensor((height - 1 - pixels[:, 1]) * width + pixels[:, 0]).long()
    ours = torch.nn.functional.normalize(rays.directions.reshape(-1, 3)[order], dim=-1)
    assert np.allclose(ours.numpy(), directions, atol=1e-5)
    assert np.allclose(rays.origins.reshape(-1, 3)[order].numpy(), origins, atol=1e-5)


def test_opencv_cameras_have_the_rays_of_trimesh() -> None:
    """An OpenCV calibration [R|t] and K, as a projection matrix gives them."""
    scene = trimesh_view()
    world_to_camera = np.diag([1.0, -1.0, -1.0, 1.0]) @ np.linalg.inv(scene.camera_transform)
    k = scene.camera.K
    width, height = scene.camera.resolution
    intrinsics = torch.tensor([k[0, 0] / width, k[1, 1] / height, k[0, 2] / width, k[1, 2] / height])
    cameras = Cameras(torch.tensor(np.linalg.inv(world_to_camera)), intrinsics).to(torch.float32)
    same_rays(cameras, scene)
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (20, 3))
    homogeneous = np.c_[points, np.ones(20)] @ (k @ world_to_camera[:3]).T
    pixels, depth = cameras.project(torch.tensor(points, dtype=torch.float32))
    assert np.allclose(pixels.numpy() * [width, height], homogeneous[:, :2] / homogeneous[:, 2:], atol=1e-3)
    assert np.allclose(depth.numpy(), homogeneous[:, 2], atol=1e-5)


def test_opengl_matrices_have_the_rays_of_trimesh_as_arrays_and_tensors() -> None:
    scene = trimesh_view()
    camera, matrix = scene.camera, np.asarray(scene.camera_transform)
    (width, height), (fx, fy) = camera.resolution, camera.focal
    intrinsics = torch.tensor([fx / width, fy / height, 0.5, 0.5])
    same_rays(Cameras(torch.tensor(opengl_to_opencv(matrix)), intrinsics).to(torch.float32), scene)
    several = torch.tensor(matrix).expand(2, 3, 4, 4)
    assert torch.equal(opengl_to_opencv(several)[1, 2], torch.tensor(opengl_to_opencv(matrix)))
    assert torch.equal(opengl_to_opencv(opengl_to_opencv(several)), several)


def test_opengl_matrices_on_disk_have_the_rays_of_trimesh(tmp_path: Path) -> None:
    scene = trimesh_view()
    write_transforms(tmp_path, scene.camera_transform, *scene.camera.resolution, *scene.camera.focal)
    same_rays(read_object(tmp_path).cameras, scene)


def test_opengl_clip_coordinates_are_our_pixels(tmp_path: Path) -> None:
    """glFrustum's matrix applied to a matrix on disk: x right and y up in [-1, 1]."""
    pose, focal = trimesh_view().camera_transform, (70.4, 76.8)
    write_transforms(tmp_path, pose, 64, 48, *focal)
    near, far = 0.1, 10.0
    frustum = np.array(
        [
            [2 * focal[0] / 64, 0, 0, 0],
            [0, 2 * focal[1] / 48, 0, 0],
            [0, 0, (near + far) / (near - far), 2 * near * far / (near - far)],
            [0, 0, -1, 0],
        ]
    )
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (20, 3))
    clip = np.c_[points, np.ones(20)] @ (frustum @ np.linalg.inv(pose)).T
    pixels, depth = read_object(tmp_path).cameras[0].project(torch.tensor(points, dtype=torch.float32))
    assert np.allclose(pixels[:, 0].numpy(), (clip[:, 0] / clip[:, 3] + 1) / 2, atol=1e-5)
    assert np.allclose(pixels[:, 1].numpy(), (1 - clip[:, 1] / clip[:, 3]) / 2, atol=1e-5)
    assert np.allclose(depth.numpy(), clip[:, 3], atol=1e-5)


def test_a_blender_camera_on_disk_sees_what_blender_says(tmp_path: Path) -> None:
    """Blender's unrotated camera looks down; turned by 90 degrees around x it looks along +y, with z up."""
    turned = trimesh.transformations.rotation_matrix(math.pi / 2, [1, 0, 0])
    turned[:3, 3] = [0, -3, 0]
    write_transforms(tmp_path, turned, 64, 64, 80, 80)
    (camera,) = (read_object(tmp_path).cameras[i] for i in range(1))
    pixels, depth = camera.project(torch.tensor([[0.0, 0, 0], [0.3, 0, 0], [0, 0, 0.3], [0, 1, 0]]))
    shift = 0.3 / 3 * 80 / 64
    expected = torch.tensor([[0.5, 0.5], [0.5 + shift, 0.5], [0.5, 0.5 - shift], [0.5, 0.5]])
    torch.testing.assert_close(pixels, expected)
    torch.testing.assert_close(depth, torch.tensor([3.0, 3, 3, 4]))
    torch.testing.assert_close(Cameras.orbit(1, elevation=0, distance=3)[0].camera_to_world, camera.camera_to_world)


def write_transforms(folder: Path, pose: np.ndarray, w: int, h: int, fl_x: float, fl_y: float) -> None:
    """A transforms.json as Blender's exporters and instant-ngp write it."""
    frames = [{"file_path": "0.png", "transform_matrix": pose.tolist()}]
    content = {"w": int(w), "h": int(h), "fl_x": float(fl_x), "fl_y": float(fl_y), "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(content))


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
        (
            lambda p: p[4, :3, 3].mul_(0.99 / 2.7),
            "camera 4 lies inside the object's unit sphere: move it to more than 1 from the origin",
        ),
    ],
)
def test_a_faulty_camera_is_named(change: object, message: str) -> None:
    pose = random_cameras().camera_to_world.clone()
    change(pose)  # type: ignore[operator]
    with pytest.raises(CameraError, match=message):
        Cameras(pose, random_cameras().intrinsics).check()


def test_a_faulty_camera_of_many_objects_is_named() -> None:
    pose = random_cameras().camera_to_world.repeat(3, 1, 1, 1)
    pose[2, 1, :3, 3] = 0.1
    cameras = Cameras(pose, random_cameras().intrinsics.expand(3, 5, 4))
    with pytest.raises(CameraError, match="camera 1 of object 2 lies inside"):
        cameras.check()
    with pytest.raises(CameraError, match="camera 0 lies inside"):
        cameras[2, 1].check()


def test_cameras_inside_the_object_are_refused() -> None:
    with pytest.raises(CameraError, match="inside the object"):
        Cameras.orbit(8, distance=0.5)


@pytest.mark.parametrize("size", [(60, 40), (40, 60), (48, 48)])
def test_pixels_are_square_whatever_the_pictures_shape(size: tuple[int, int]) -> None:
    """A step to the right moves a point by as many pixels as one downwards; the shorter side shows the object."""
    h, w = size
    camera = Cameras.orbit(1, elevation=0.0, distance=2.7, aspect=w / h)
    points = torch.tensor([[0.0, 0.0, 0.0], [0.1, 0.0, 0.0], [0.0, 0.0, -0.1]])
    pixels = camera.project(points[None])[0][0] * torch.tensor([float(w), float(h)])
    steps = (pixels[1:] - pixels[:1]).double()
    expected = 1.3 * min(size) * 0.1 / 2.7
    torch.testing.assert_close(steps, torch.eye(2).double() * expected, rtol=1e-5, atol=1e-4)
