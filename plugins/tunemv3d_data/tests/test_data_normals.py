"""Normals for shading, and polygons as triangles, against shapes whose normals and areas are known."""

import time
from pathlib import Path

import numpy as np
import pytest
import trimesh
from scipy.spatial import Delaunay

from tunemv3d_data.meshes.mesh import from_trimesh, load_mesh
from tunemv3d_data.meshes.normals import CREASE, corner_normals
from tunemv3d_data.meshes.polygons import triangulate
from tunemv3d_data.objects import SourceObject


def degrees(normals: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Angles between directions whose sign means nothing."""
    return np.degrees(np.arccos(np.abs((normals * expected).sum(-1)).clip(0, 1)))


def flat(triangles: np.ndarray) -> np.ndarray:
    crossed = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    return np.repeat((crossed / np.linalg.norm(crossed, axis=-1, keepdims=True))[:, None], 3, axis=1)


@pytest.mark.parametrize("size", [(1.2, 2.2, 0.8), (1, 1, 1), (5, 0.1, 1)])
def test_boxes_are_flat(size: tuple[float, float, float]) -> None:
    mesh = from_trimesh(trimesh.creation.box(size))
    assert degrees(mesh.normals, flat(mesh.triangles)).max() < 1e-3


@pytest.mark.parametrize(("off", "kept"), [(53.0, True), (56.0, False)])
def test_a_files_normals_count_up_to_a_box_whose_corners_are_smoothed(tmp_path: Path, off: float, kept: bool) -> None:
    y, z = -np.sin(np.radians(off)), np.cos(np.radians(off))
    square = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"
    (tmp_path / "a.obj").write_text(f"{square}vn 0 {y} {z}\nf 1//1 2//1 3//1 4//1\n", encoding="utf-8")
    mesh = load_mesh(SourceObject(id="x", path=tmp_path / "a.obj"))
    angles = degrees(mesh.normals, flat(mesh.triangles))
    assert np.allclose(angles, off if kept else 0, atol=0.05)


@pytest.mark.parametrize("way", ["as it is", "turned faces", "both sides"])
def test_a_ball_is_round(way: str) -> None:
    """Whichever way round its faces are listed, and with every face twice, as SketchUp writes them."""
    ball = trimesh.creation.icosphere(3, radius=0.9)
    triangles = np.asarray(ball.triangles, dtype=np.float32)
    if way == "turned faces":
        triangles[::3] = triangles[::3, ::-1]
    elif way == "both sides":
        triangles = np.concatenate([triangles, triangles[:, ::-1]])
    assert degrees(corner_normals(triangles), triangles / 0.9).max() < 1.5


@pytest.mark.parametrize(("sides", "is_round"), [(6, False), (8, False), (10, True), (32, True)])
def test_tubes_are_round_from_ten_sides_and_their_ends_are_flat(sides: int, is_round: bool) -> None:
    tube = trimesh.creation.cylinder(radius=0.5, height=1, sections=sides)
    triangles = np.asarray(tube.triangles, dtype=np.float32)
    normals, own = corner_normals(triangles), flat(triangles)
    is_end = np.abs(own[:, 0, 2]) > 0.9
    assert degrees(normals[is_end], own[is_end]).max() < 1e-3
    radial = triangles[~is_end] * (1, 1, 0) / 0.5
    expected = radial if is_round else own[~is_end]
    # Weighted by area, a corner with two triangles on one side leans to it by a third of the step.
    assert degrees(normals[~is_end], expected).max() < (360 / sides / 3 if is_round else 1e-3)


@pytest.mark.parametrize(("angle", "is_smooth"), [(CREASE - 2, True), (CREASE + 2, False)])
def test_two_faces_meet_smoothly_below_the_crease_angle(angle: float, is_smooth: bool) -> None:
    turn = np.radians(angle)
    far = [0.5 * np.cos(turn), 0, 0.5 * np.sin(turn)]
    triangles = np.array([[[0, 0, 0], [0, 0.5, 0], [-0.5, 0, 0]], [[0, 0, 0], far, [0, 0.5, 0]]], dtype=np.float32)
    between = degrees(corner_normals(triangles)[0, :2], flat(triangles)[0, :2])
    assert np.allclose(between, angle / 2 if is_smooth else 0, atol=1e-3)


def test_each_corner_averages_as_a_loop_over_faces_does() -> None:
    """A bent sheet of random triangles, against a loop in float64."""
    random = np.random.default_rng(0)
    points = np.c_[random.uniform(-0.5, 0.5, (60, 2)), np.zeros(60)]
    faces = Delaunay(points[:, :2]).simplices
    points[:, 2] = 0.4 * np.sin(6 * points[:, 0])
    triangles = points[faces].astype(np.float32)
    crossed = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]).astype(np.float64)
    unit = crossed / np.linalg.norm(crossed, axis=1, keepdims=True)
    expected = np.zeros((len(faces), 3, 3))
    for face, corners in enumerate(faces):
        for corner, vertex in enumerate(corners):
            for other in np.flatnonzero((faces == vertex).any(1)):
                cosine = unit[face] @ unit[other]
                if abs(cosine) > np.cos(np.radians(CREASE)):
                    expected[face, corner] += np.sign(cosine) * crossed[other]
    expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
    assert degrees(corner_normals(triangles), expected).max() < 0.05


def test_many_faces_at_one_place_take_no_square_of_time() -> None:
    angle = np.linspace(0, 2 * np.pi, 60_001)
    ring = np.c_[np.cos(angle), np.sin(angle), np.zeros_like(angle)] * 0.9
    triangles = np.stack([np.zeros((60_000, 3)), ring[:-1], ring[1:]], axis=1).astype(np.float32)
    start = time.process_time()
    normals = corner_normals(triangles)
    assert time.process_time() - start < 15
    assert np.abs(normals[..., 2]).min() > 0.999


def shoelace(points: np.ndarray) -> float:
    (x, y), (a, b) = points.T, np.roll(points, -1, axis=0).T
    return float((x * b - y * a).sum() / 2)


def test_polygons_keep_their_area_in_any_plane() -> None:
    """Star-shaped polygons, their corners at random distances, turned into random planes."""
    random = np.random.default_rng(0)
    corners, counts, areas = [], [], []
    for count in [3, 4, 4, 5, 6, 7, 9, 12, 40] * 20:
        angle = np.sort(random.uniform(0, 2 * np.pi, count))
        if np.diff(np.r_[angle, angle[0] + 2 * np.pi]).max() > 3:
            continue
        flat_points = np.c_[np.cos(angle), np.sin(angle)] * random.uniform(0.1, 1, count)[:, None]
        turn = np.linalg.qr(random.normal(size=(3, 3)))[0]
        corners.append(np.c_[flat_points, np.zeros(count)] @ turn.T + random.normal(size=3))
        counts.append(count)
        areas.append(shoelace(flat_points))
    points = np.concatenate(corners)
    triangles, polygon = triangulate(points, np.array(counts))
    crossed = np.cross(*(points[triangles[:, corner]] - points[triangles[:, 0]] for corner in (1, 2)))
    found = np.bincount(polygon, np.linalg.norm(crossed, axis=1) / 2, minlength=len(counts))
    assert len(counts) > 100 and np.allclose(found, areas, rtol=1e-6)
    assert (np.diff(polygon) >= 0).all()
    # All triangles of one polygon face the same way.
    whole = np.stack([np.bincount(polygon, crossed[:, axis]) for axis in range(3)], axis=-1)
    assert np.allclose(np.linalg.norm(whole, axis=1) / 2, areas, rtol=1e-6)


@pytest.mark.parametrize("first", range(4))
def test_a_dart_is_divided_inside(first: int) -> None:
    points = np.roll(np.array([[0, 0, 0], [4, -1, 0], [1, 0, 0], [4, 1, 0]], dtype=np.float64), first, axis=0)
    triangles, _ = triangulate(points, np.array([4]))
    crossed = np.cross(*(points[triangles[:, corner]] - points[triangles[:, 0]] for corner in (1, 2)))
    assert np.linalg.norm(crossed, axis=1).sum() / 2 == pytest.approx(abs(shoelace(points[:, :2])))


def test_a_bent_quadrangle_stays_whole(tmp_path: Path) -> None:
    """Not flat: either way of dividing it is right, and both its triangles are there."""
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 1 0 0\nv 1 1 0.5\nv 0 1 0\nf 1 2 3 4\n")
    assert len(load_mesh(SourceObject(id="x", path=tmp_path / "a.obj")).triangles) == 2
