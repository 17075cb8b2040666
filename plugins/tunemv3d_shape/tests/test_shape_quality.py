"""Figures of surfaces whose angles, edges and pictures are known; the layout without charts; the time limit."""

import subprocess
from typing import Any

import numpy as np
import pytest
from shape_toys import numpy_of, seen, sphere, stripes, torus

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import SampleError
from tunemv3d_shape.bake import bake, texel_points
from tunemv3d_shape.export import as_trimesh
from tunemv3d_shape.generate import textured
from tunemv3d_shape.quality import Quality, mean_angle, measure, non_manifold_edges, normal_pictures, objections
from tunemv3d_shape.simplify import simplify
from tunemv3d_shape.spec import MarchingCubesSpec
from tunemv3d_shape.surface import Triangles, extract_surface
from tunemv3d_shape.unwrap import triangle_by_triangle, unwrap


def cube() -> Triangles:
    """Twelve triangles of side 1."""
    corners = np.array(list(np.ndindex(2, 2, 2)), dtype=np.float32)
    faces = [
        (0, 1, 3),
        (0, 3, 2),
        (4, 7, 5),
        (4, 6, 7),
        (0, 4, 5),
        (0, 5, 1),
        (2, 3, 7),
        (2, 7, 6),
        (0, 2, 6),
        (0, 6, 4),
    ]
    return Triangles(corners, np.array([*faces, (1, 5, 7), (1, 7, 3)], dtype=np.int32))


def test_angles_of_a_cube() -> None:
    """Twelve edges of length 1 turn by 90 degrees, six diagonals by none."""
    assert mean_angle(cube()) == pytest.approx(90 * 12 / (12 + 6 * np.sqrt(2)))
    assert as_trimesh(cube()).is_watertight and non_manifold_edges(cube()) == 0


def test_angles_are_those_of_trimesh_and_fall_with_finer_spheres() -> None:
    surface = extract_surface(torus(0.5, 0.2), 24)
    mesh = as_trimesh(surface)
    ends = mesh.vertices[mesh.face_adjacency_edges]
    lengths = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=-1)
    wanted = np.degrees((mesh.face_adjacency_angles * lengths).sum() / lengths.sum())
    assert mean_angle(surface) == pytest.approx(wanted, rel=1e-4)


def test_edges_of_one_face_and_of_three_are_not_manifold() -> None:
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1]], dtype=np.float32)
    assert non_manifold_edges(Triangles(corners, np.array([[0, 1, 2]], dtype=np.int32))) == 3
    fan = np.array([[0, 1, 2], [1, 0, 3], [0, 1, 4]], dtype=np.int32)
    assert non_manifold_edges(Triangles(corners, fan)) == 1 + 6


def test_the_right_surface_is_better_than_a_wrong_one_and_a_spiky_one_is_rougher() -> None:
    shape, cameras = sphere(0.6), Cameras.orbit(6, elevation=20)
    fitted, judges = (seen(numpy_of(shape), cameras[i], 64) for i in ([0, 1, 2, 4, 5], [3]))
    right = extract_surface(shape, 48)
    noise = np.random.default_rng(0).normal(0, 0.01, right.vertices.shape).astype(np.float32)
    good, wrong, spiky = (
        measure(z, fitted, judges)
        for z in (right, extract_surface(sphere(0.5), 48), Triangles(right.vertices + noise, right.faces))
    )
    assert (
        good.psnr > wrong.psnr + 5
        and good.silhouette_iou > 0.97
        and wrong.silhouette_iou == pytest.approx(25 / 36, abs=0.04)
    )
    assert spiky.mean_angle > 3 * good.mean_angle


def test_a_bare_surface_is_lit_from_the_camera() -> None:
    picture = normal_pictures(extract_surface(sphere(0.6), 48), Cameras.orbit(1), (65, 65))
    assert float(picture.colours[0, 0, 32, 32]) == pytest.approx(0.95, abs=0.02)
    outer = picture.colours[0, 0][picture.alpha[0] > 0.5]
    assert float(outer.min()) < 0.5


GOOD = Quality(20.0, 0.8, 10.0, 3, 20000)


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (Quality(20.5, 0.8, 11.0, 4, 20000), []),
        (Quality(20.05, 0.8, 10.0, 3, 20000), ["PSNR of held-out views 20.00 to 20.05 dB, 0.1 dB more are asked for"]),
        (Quality(20.5, 0.8, 12.6, 3, 20000), ["mean angle between faces 10.0 to 12.6 degrees"]),
        (Quality(20.4, 0.8, 10.0, 28, 20000), ["non-manifold edges 3 to 28"]),
        (Quality(19.0, 0.8, 20.0, 28, 20000), ["PSNR", "mean angle", "non-manifold"]),
    ],
)
def test_the_rule_by_which_a_refined_surface_is_kept(after: Quality, said: list[str]) -> None:
    found = objections(GOOD, after)
    assert len(found) == len(said) and all(a in b for a, b in zip(said, found, strict=True))


@pytest.mark.parametrize("texture", [128, 512])
def test_triangles_laid_out_one_by_one_keep_their_paint(texture: int) -> None:
    """At 128 texels a square has the least size, so that each corner has a texel of its own."""
    shape = sphere(0.6)
    surface = simplify(extract_surface(shape, 48), 2000)
    laid = triangle_by_triangle(surface, texture)
    covered, points = texel_points(laid, surface, texture)
    cameras = Cameras.cat([Cameras.orbit(4, elevation=20), Cameras.orbit(2, elevation=70), Cameras.orbit(2, -60)])
    painted = bake(laid, surface, [seen(numpy_of(shape), cameras, 96)], texture)
    assert np.abs(painted[covered] / 255 - stripes(points.places)).mean() < 0.02
    # As a viewer reads it: bilinear, at the middle of every triangle.
    middles = laid.uv[laid.faces].mean(1) * [texture, -texture] + [-0.5, texture - 0.5]
    low = np.floor(middles).astype(int)
    share = (middles - low)[:, :, None]
    rows = [painted[low[:, 1] + dy, low[:, 0] + dx] for dy in (0, 1) for dx in (0, 1)]
    x, y = share[:, 0], share[:, 1]
    read = rows[0] * (1 - x) * (1 - y) + rows[1] * x * (1 - y) + rows[2] * (1 - x) * y + rows[3] * x * y
    wanted = stripes(surface.vertices[surface.faces].mean(1))
    assert np.abs(read / 255 - wanted).mean() < 0.03
    np.testing.assert_array_equal(laid.vertices, surface.vertices[laid.original])
    assert 0 <= laid.uv.min() and laid.uv.max() <= 1


def test_charts_that_take_too_long_are_given_up_and_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    surface = extract_surface(sphere(0.6), 16)
    _, told = unwrap(surface, 256)
    assert told == ""

    def late(command: Any, **options: Any) -> Any:
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(subprocess, "run", late)
    views = seen(numpy_of(sphere(0.6)), Cameras.orbit(2), 16)
    mesh = textured(surface, sphere(0.6), views, MarchingCubesSpec(texture=256, unwrap_seconds=7))
    (note,) = mesh.notes
    assert "charts took longer than 7 s: every triangle has its own place in the texture" in note
    assert mesh.watertight and len(mesh.uv_faces) == len(surface.faces)
    with pytest.raises(
        SampleError, match=r"a texture of 32 x 32 has no room for .* triangles: fewer --faces, or --texture"
    ):
        textured(surface, sphere(0.6), views, MarchingCubesSpec(texture=32))


def test_a_budget_that_cannot_be_kept_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    surface = extract_surface(sphere(0.6), 16)
    monkeypatch.setattr("fast_simplification.simplify", lambda v, f, target_count, agg: (v, f))
    views = seen(numpy_of(sphere(0.6)), Cameras.orbit(2), 16)
    mesh = textured(surface, sphere(0.6), views, MarchingCubesSpec(faces=100, texture=256))
    assert mesh.notes == (f"{len(surface.faces)} triangles instead of 100: the surface cannot be simplified further",)


def test_fewer_triangles_leave_no_spikes() -> None:
    """Against what fast-simplification makes by default."""
    import fast_simplification

    whole = extract_surface(torus(0.55, 0.2), 96)
    by_default = Triangles(*fast_simplification.simplify(whole.vertices, whole.faces, target_count=1500))
    assert mean_angle(simplify(whole, 1500)) <= mean_angle(by_default)
