"""Surfaces of formulas: volume, area, genus, distance; floaters and budgets."""

import numpy as np
import pytest
import torch
from shape_toys import Formula, box, sphere, torus, union

from tunemv3d_core.errors import SampleError
from tunemv3d_shape.cleaning import face_areas, remove_floaters
from tunemv3d_shape.export import as_trimesh
from tunemv3d_shape.simplify import simplify
from tunemv3d_shape.surface import HALF, RADIUS, Triangles, distance_grid, extract_surface


@pytest.mark.parametrize(
    ("shape", "volume", "area", "euler"),
    [
        (sphere(0.6), 4 / 3 * np.pi * 0.6**3, 4 * np.pi * 0.6**2, 2),
        (torus(0.55, 0.2), 2 * np.pi**2 * 0.55 * 0.2**2, 4 * np.pi**2 * 0.55 * 0.2, 0),
        (box((0.5, 0.3, 0.4)), 8 * 0.5 * 0.3 * 0.4, 8 * (0.15 + 0.2 + 0.12), 2),
    ],
)
def test_surfaces_of_formulas(shape: Formula, volume: float, area: float, euler: int) -> None:
    surface = extract_surface(shape, 96)
    mesh = as_trimesh(surface)
    assert mesh.is_watertight and mesh.is_winding_consistent and mesh.euler_number == euler
    assert mesh.volume == pytest.approx(volume, rel=0.01)
    assert mesh.area == pytest.approx(area, rel=0.01)
    off = shape.distance(torch.from_numpy(surface.vertices)).abs()
    assert float(off.max()) < 0.3 * 2 * HALF / 96


def test_only_blocks_near_the_surface_are_asked() -> None:
    shape = sphere(0.6)
    grid = distance_grid(shape, 96)
    assert shape.asked < 0.4 * grid.size
    axis = torch.linspace(-HALF, HALF, 97)
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1)
    exact = torch.maximum(shape.distance(points), points.norm(dim=-1) - RADIUS).numpy()
    assert ((grid < 0) == (exact < 0)).all()
    near = np.abs(exact) < 2 * HALF / 96
    np.testing.assert_allclose(grid[near], exact[near], atol=1e-6)


def test_a_steep_distance_and_a_thin_plate_lose_nothing() -> None:
    """Eight times steeper than a distance, so that only following the surface finds all of its blocks."""
    plate = box((0.6, 0.5, 0.012))
    for shape in (Formula(lambda p: 8 * sphere(0.6).distance(p)), plate, Formula(lambda p: 2 * plate.distance(p))):
        grid = distance_grid(shape, 128)
        axis = torch.linspace(-HALF, HALF, 129)
        points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1)
        assert ((grid < 0) == (shape.distance(points).numpy() < 0)).all()
        assert as_trimesh(extract_surface(shape, 128)).is_watertight


def test_what_reaches_beyond_the_sphere_is_closed_there() -> None:
    mesh = as_trimesh(extract_surface(Formula(lambda p: p[..., 2].abs() - 0.1), 64))
    assert mesh.is_watertight
    assert np.linalg.norm(mesh.vertices, axis=-1).max() == pytest.approx(RADIUS, abs=0.01)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        (Formula(lambda p: p.norm(dim=-1) + 0.25), "positive everywhere.*another --seed"),
        (Formula(lambda p: torch.where(p[..., 0] > 0.5, torch.nan, p[..., 0])), "not a finite number at"),
    ],
)
def test_nothing_to_mesh_says_so(shape: Formula, said: str) -> None:
    with pytest.raises(SampleError, match=said):
        extract_surface(shape, 32)


def test_floaters_go_and_large_parts_stay() -> None:
    shape = union(sphere(0.3, (-0.4, 0, 0)), sphere(0.15, (0.4, 0, 0)), sphere(0.02, (0, 0.6, 0)))
    whole = extract_surface(shape, 128)
    cleaned = as_trimesh(remove_floaters(whole))
    assert as_trimesh(whole).body_count == 3 and cleaned.body_count == 2
    assert cleaned.is_watertight
    assert cleaned.volume == pytest.approx(4 / 3 * np.pi * (0.3**3 + 0.15**3), rel=0.02)


def test_areas_are_those_of_trimesh() -> None:
    surface = extract_surface(torus(0.5, 0.2), 32)
    np.testing.assert_allclose(face_areas(surface), as_trimesh(surface).area_faces, rtol=1e-4, atol=1e-9)


def test_the_budget_is_kept_and_the_shape_too() -> None:
    whole = extract_surface(torus(0.55, 0.2), 96)
    few = simplify(whole, 2000)
    assert len(few.faces) <= 2000 < len(whole.faces)
    mesh = as_trimesh(few)
    assert mesh.is_watertight and mesh.euler_number == 0
    assert mesh.volume == pytest.approx(as_trimesh(whole).volume, rel=0.01)
    points = mesh.sample(2000, seed=0)
    assert float(torus(0.55, 0.2).distance(torch.from_numpy(points)).abs().mean()) < 0.003
    assert simplify(few, 2000) is few


def test_a_surface_of_one_tetrahedron_stays_whole() -> None:
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=np.float32)
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], dtype=np.int32)
    kept = remove_floaters(Triangles(corners, faces))
    assert as_trimesh(kept).volume == pytest.approx(1 / 6)
