"""Reprojection of analytic scenes whose depth is known: no error where views agree, more the less they do."""

from itertools import pairwise
from statistics import fmean

import pytest
import torch
from eval_toys import boxes_seen, chair, toy_model
from torch import Tensor

from tunemv3d_core.cameras import Cameras, intersect_sphere
from tunemv3d_core.slots import MeasuredObject
from tunemv3d_core.types import Rendering
from tunemv3d_eval.metrics import reprojection as module
from tunemv3d_eval.metrics.colour import oklab
from tunemv3d_eval.metrics.reprojection import Reprojection, reprojection

SIZE = 96


def sphere_depth(cameras: Cameras, size: int = SIZE) -> tuple[Tensor, Tensor]:
    near, _, hit = intersect_sphere(cameras.rays((size, size)), 0.7)
    return hit.unflatten(-1, (size, size)).float(), (near * hit).unflatten(-1, (size, size))


def chair_depth(cameras: Cameras) -> tuple[Tensor, Tensor]:
    boxes, rays = chair(), cameras.rays((SIZE, SIZE))
    one, other = ((boxes[:, side] - rays.origins[..., None, :]) / rays.directions[..., None, :] for side in (0, 1))
    near, far = torch.minimum(one, other).amax(-1), torch.maximum(one, other).amin(-1)
    depth = torch.where(near < far, near, torch.inf).amin(-1)
    return boxes_seen(boxes, cameras, SIZE).float(), depth.nan_to_num(posinf=0).unflatten(-1, (SIZE, SIZE))


def compared(images: Tensor, opacity: Tensor, depth: Tensor, cameras: Cameras) -> tuple[Tensor, Tensor, Tensor]:
    """Silhouettes are those of the field."""
    return reprojection(images, opacity > 0, opacity, depth, cameras)


SHAPES = {"sphere": sphere_depth, "chair": chair_depth}


def painted_by_place(opacity: Tensor, depth: Tensor, cameras: Cameras, drawn_by: Cameras | None = None) -> Tensor:
    """Pictures ``n 3 H W`` on white whose colour is a smooth function of the point in space."""
    rays = (drawn_by or cameras).rays((SIZE, SIZE))
    points = rays.origins + depth.flatten(-2)[..., None] * rays.directions
    colours = torch.sin(2 * points + torch.tensor([0.0, 1.0, 2.0])).mT.unflatten(-1, (SIZE, SIZE))
    return torch.where(opacity[:, None] > 0, colours, torch.ones(()))


@pytest.mark.parametrize("shape", SHAPES)
def test_views_of_one_scene_have_no_error(shape: str) -> None:
    cameras = Cameras.orbit(8)
    opacity, depth = SHAPES[shape](cameras)
    square, distance, count = compared(painted_by_place(opacity, depth, cameras), opacity, depth, cameras)
    assert count > 1000
    # What is left is interpolation between pixels: 46 dB.
    assert square < 2.5e-5 and distance < 0.003
    flat = torch.where(opacity[:, None] > 0, torch.tensor([0.3, -0.2, 0.1])[:, None, None], torch.ones(()))
    square, distance, _ = compared(flat, opacity, depth, cameras)
    assert square < 1e-12 and distance < 1e-5


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("fault", ["colours", "cameras", "depth"])
def test_the_error_rises_with_the_fault(shape: str, fault: str) -> None:
    cameras = Cameras.orbit(8)
    opacity, depth = SHAPES[shape](cameras)
    errors = []
    for size in (0.0, 0.25, 0.5, 1.0):
        generator = torch.Generator().manual_seed(0)
        seen, drawn_by = depth, cameras
        if fault == "depth":
            seen = depth + size * 0.04 * (depth > 0)
        if fault == "cameras":  # every other view is that of a camera elsewhere
            turned = Cameras.orbit(8, azimuth=30 * size)
            drawn_by = Cameras(torch.where(
                (torch.arange(8) % 2 == 0)[:, None, None], turned.camera_to_world, cameras.camera_to_world
            ), cameras.intrinsics)  # fmt: skip
        images = painted_by_place(opacity, depth, cameras, drawn_by)
        if fault == "colours":
            images = images + 0.2 * size * torch.randn(images.shape, generator=generator)
        errors.append([float(x) for x in compared(images, opacity, seen, cameras)[:2]])
    for before, after in pairwise(errors):
        assert before[0] < after[0] and before[1] < after[1]


def test_what_another_surface_hides_is_not_compared() -> None:
    """A red ball behind a blue one: from the front only the blue one is seen, and nothing of it is red elsewhere."""
    cameras = Cameras.orbit(2, elevation=0.0)
    opacity, depth = sphere_depth(cameras)
    colours = torch.tensor([[1.0, -1.0, -1.0], [-1.0, -1.0, 1.0]])
    images = torch.where(opacity[:, None] > 0, colours[:, :, None, None], torch.ones(()))
    assert compared(images, opacity, depth, cameras)[2] == 0  # opposite sides of one ball


def bilinear(values: Tensor, x: float, y: float) -> Tensor:
    """``... H W`` between the centres of four pixels."""
    a, b, u, v = int(x), int(y), x % 1, y % 1
    rows = (values[..., row, a] * (1 - u) + values[..., row, a + 1] * u for row in (b, b + 1))
    return next(rows) * (1 - v) + next(rows) * v


def test_against_a_loop_over_pixels() -> None:
    size, cameras = 24, Cameras.orbit(5, azimuth=10)
    opacity, depth = sphere_depth(cameras, size)
    images = torch.rand(5, 3, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    colours, inner = (images.double() + 1) / 2, module._inner(opacity, depth, cameras)
    errors, distances = [], []
    for i, row, column in inner.nonzero().tolist():
        ray = cameras[i].rays((0, 0), torch.tensor([[(column + 0.5) / size, (row + 0.5) / size]]))
        point = ray.origins + depth[i, row, column] * ray.directions
        of_pixel, apart = [], []
        for j in range(5):
            pixel, z = cameras[j].project(point)
            x, y = (pixel[0] * size - 0.5).double().tolist()
            if j == i or not (0 <= x < size - 1 and 0 <= y < size - 1) or not inner[j, round(y), round(x)]:
                continue
            if abs(float(z) - float(bilinear(depth[j].double(), x, y))) < module.BEHIND:
                there, here = bilinear(colours[j], x, y), colours[i, :, row, column]
                of_pixel.append(float((there - here).square().mean()))
                apart.append(float((oklab(there) - oklab(here)).norm()))
        if of_pixel:
            errors.append(fmean(of_pixel))
            distances.append(fmean(apart))
    square, distance, count = compared(images, opacity, depth, cameras)
    assert len(errors) == int(count) > 200
    assert fmean(errors) == pytest.approx(float(square), rel=1e-5)
    assert fmean(distances) == pytest.approx(float(distance), rel=1e-4)


def test_what_the_field_lacks_is_compared_with_white() -> None:
    """Half of a grey sphere's views is missing in the field: black against white is an error of 1 there."""
    cameras = Cameras.orbit(4)
    opacity, depth = sphere_depth(cameras)
    black = torch.where(opacity[:, None] > 0, -1.0, 1.0).expand(-1, 3, -1, -1)
    square, distance, count = reprojection(black, opacity > 0, torch.zeros_like(opacity), 0 * depth, cameras)
    assert (float(square), float(distance), int(count)) == (1.0, pytest.approx(1, abs=1e-3), int(opacity.sum()))
    half = opacity * (torch.arange(SIZE) < SIZE // 2)
    square, _, count = reprojection(black, opacity > 0, half, depth * half, cameras)
    missed = opacity[..., SIZE // 2 + 1 :].sum()  # the column beside the field's edge does not count
    assert float(square) * int(count) == pytest.approx(float(missed), rel=0.01)
    white = torch.ones_like(black)
    assert int(reprojection(white, opacity > 2, 0 * opacity, 0 * depth, cameras)[2]) == 0


class SphereScene:
    def __init__(self, opacity: float) -> None:
        self.opacity = opacity

    def render(self, cameras: Cameras, size: tuple[int, int], pixels: Tensor | None = None, normals: bool = False):
        near, _, hit = intersect_sphere(cameras.rays(size, pixels), 0.7)
        maps = [self.opacity * hit.float(), near * hit]
        if pixels is None:
            maps = [m.unflatten(-1, size) for m in maps]
        return Rendering(maps[0][:, :, None], maps[0], maps[1])


def test_the_metric_takes_the_fields_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    cameras = Cameras.orbit(6)
    mask, depth = sphere_depth(cameras)
    images = painted_by_place(mask, depth, cameras)
    sample = MeasuredObject("a ball", images, mask > 0, torch.zeros(6, 3, SIZE // 2, SIZE // 2), cameras, mask)
    found = {}
    for opacity in (1.0, 0.1):
        monkeypatch.setattr(module, "fuse_object", lambda *_, of=opacity: SphereScene(of))
        found[opacity] = Reprojection().measure(sample, toy_model())
    assert found[1.0]["reprojection_psnr"] > 30 > 10 > found[0.1]["reprojection_psnr"]
    assert found[1.0]["reprojection_colour"] < 0.02 < 0.2 < found[0.1]["reprojection_colour"]
    blank = MeasuredObject("", torch.ones_like(images), mask > 2, sample.latents, cameras, mask)
    assert Reprojection().measure(blank, toy_model()) == {"reprojection_psnr": None, "reprojection_colour": None}
