"""Surfaces of analytic scenes: what hangs together, how far apart two are, and real meshes beside them over t."""

import math
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
import trimesh
from eval_toys import toy_model
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import ComponentError, DatasetError, TuneMV3DWarning
from tunemv3d_core.io.posed_images import PosedImages
from tunemv3d_core.slots import MeasuredObject
from tunemv3d_core.types import Rendering
from tunemv3d_eval.metrics import geometry_over_t as over_t
from tunemv3d_eval.metrics import surface as surfaces
from tunemv3d_eval.metrics import topology as topologies
from tunemv3d_eval.metrics.geometry_over_t import GeometryOverT, compare, read_mesh
from tunemv3d_eval.metrics.geometry_spec import GeometryOverTSpec, TopologySpec
from tunemv3d_eval.metrics.surface import Triangles, extract, is_closed, occupied, sample_points
from tunemv3d_eval.metrics.topology import Topology, topology
from tunemv3d_eval.report.over_t import plots_over_t

CPU = torch.device("cpu")


class Shape:
    """A scene that has a signed distance alone."""

    def __init__(self, distance: Callable[[Tensor], Tensor]) -> None:
        self.distance = distance

    def signed_distance(self, points: Tensor) -> Tensor:
        return self.distance(points)

    def render(self, *_: object) -> Rendering:
        raise AssertionError("not asked")

    def losses(self) -> dict[str, Tensor]:
        return {}


def ball(radius: float, centre: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Shape:
    return Shape(lambda p: (p - torch.tensor(centre)).norm(dim=-1) - radius)


def ring(p: Tensor) -> Tensor:
    return torch.hypot(p[..., :2].norm(dim=-1) - 0.5, p[..., 2]) - 0.2


def two_rings_and_a_ball(p: Tensor) -> Tensor:
    """Two rings that share a side, and a small ball above."""
    rings = torch.minimum(*(ring(2 * p + torch.tensor([x, 0.0, 0.0])) / 2 for x in (-0.6, 0.6)))
    return torch.minimum(rings, (p - torch.tensor([0.0, 0.0, 0.6])).norm(dim=-1) - 0.1)


def sphere(radius: float) -> Triangles:
    made = trimesh.creation.icosphere(5, radius)
    return Triangles(np.asarray(made.vertices), np.asarray(made.faces))


def test_vertices_lie_on_the_surface_and_agree_with_trimesh() -> None:
    found = extract(Shape(ring), 64, CPU)
    assert found is not None
    assert ring(torch.from_numpy(found.vertices)).abs().max() < 0.003
    same = trimesh.Trimesh(found.vertices, found.faces, process=False)
    assert same.is_watertight == is_closed(found.faces)
    assert 1 - same.euler_number / 2 == surfaces.genus(found.faces)
    assert same.volume == pytest.approx(2 * math.pi**2 * 0.5 * 0.2**2, rel=0.02)
    assert np.linalg.norm(found.crosses(), axis=1).sum() / 2 == pytest.approx(same.area)


@pytest.mark.parametrize(
    ("shape", "parts", "closed", "handles", "floaters"),
    [
        (ball(0.6), 1, True, 0, 0),
        (Shape(ring), 1, True, 1, 0),
        (Shape(two_rings_and_a_ball), 2, True, 2, 0.04 * math.pi / (2 * math.pi**2 * 0.1)),
        (Shape(lambda p: (p.norm(dim=-1) - 0.6).abs() - 0.1), 2, True, 0, 0.5**2 / (0.5**2 + 0.7**2)),  # a shell
        (ball(0.6, (0.5, 0, 0)), 1, False, None, 0),  # leaves the sphere
        (Shape(lambda p: p[..., 2]), 1, False, None, 0),  # a plane
    ],
)
def test_what_hangs_together(shape: Shape, parts: int, closed: bool, handles: int | None, floaters: float) -> None:
    found = extract(shape, 48, CPU)
    assert found is not None
    given = topology(found)
    assert given[:3] == (parts, closed, handles)
    assert given[3] == pytest.approx(floaters, abs=0.01)


@pytest.mark.parametrize(
    "distance",
    [
        lambda p: torch.ones(p.shape[:-1]),
        lambda p: -torch.ones(p.shape[:-1]),
        lambda p: torch.where(p[..., 0] > 0.9, torch.nan, p.norm(dim=-1) - 0.5),
    ],
)
def test_no_surface_is_none(distance: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    assert extract(Shape(distance), 16, CPU) is None
    monkeypatch.setattr(topologies, "fuse_object", lambda *_: Shape(distance))
    figures = Topology(TopologySpec(resolution=16)).measure(sample(), toy_model())
    assert figures.pop("surface_found") == 0 and set(figures.values()) == {None}


def test_the_metric_gives_the_topology(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topologies, "fuse_object", lambda *_: Shape(two_rings_and_a_ball))
    figures = Topology(TopologySpec()).measure(sample(), toy_model())
    expected = {"surface_found": 1, "components": 2, "watertight": 1, "genus": 2}
    assert figures | expected == figures and 0 < figures["floaters"] < 0.1


def test_points_are_even_and_have_normals() -> None:
    points, normals = sample_points(sphere(0.7), 20_000)
    assert np.linalg.norm(points, axis=1) == pytest.approx(0.7, abs=0.001)
    assert (normals * points).sum(1) == pytest.approx(0.7, abs=0.001)
    # Archimedes: the height of an even point is uniform.
    heights = np.sort(points[:, 2]) / 0.7
    assert np.abs(heights - np.linspace(-1, 1, len(heights))).max() < 0.03


def test_concentric_spheres() -> None:
    found = compare(sphere(0.5), sphere(0.6))
    assert found["chamfer"] == pytest.approx(0.1, abs=0.003)
    assert found["f_score"] == 0
    assert compare(sphere(0.5), sphere(0.6), reach=0.11)["f_score"] > 0.99
    assert found["volume_iou"] == pytest.approx((0.5 / 0.6) ** 3, abs=0.04)
    assert found["normal_error"] < 5
    same = compare(sphere(0.5), sphere(0.5))
    assert same["chamfer"] < 0.02 and same["f_score"] == 1 and same["volume_iou"] > 0.99


def test_volumes_are_what_is_shut_in() -> None:
    cells = occupied(sample_points(sphere(0.6), 100_000)[0], 48)
    axis = (np.arange(48) + 0.5) / 24 - 1
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    cell = math.sqrt(3) / 48
    assert cells[radius < 0.6 - cell].all() and not cells[radius > 0.6 + cell].any()


def test_flat_sheets_have_the_angle_between_them() -> None:
    flat = np.array([[-0.5, -0.5, 0], [0.5, -0.5, 0], [0.5, 0.5, 0], [-0.5, 0.5, 0.0]])
    turned = flat @ trimesh.transformations.rotation_matrix(math.radians(30), [1, 0, 0])[:3, :3].T
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    # Which side is which does not count.
    found = compare(Triangles(flat, faces), Triangles(turned, faces[:, ::-1]))
    assert found["normal_error"] == pytest.approx(30, abs=1e-3)


def sample(id_: str = "ball", **extra: object) -> MeasuredObject:
    cameras = Cameras.orbit(2)
    record = PosedImages(id_, cameras, (8, 8), ("a ball",), extra=extra)
    blank = torch.ones(2, 3, 8, 8)
    return MeasuredObject("a ball", blank, blank[:, 0] < 0, blank, cameras, record=record)


@pytest.fixture
def meshes(tmp_path: Path) -> Path:
    """A ball of radius 0.6 in the world, and as a file elsewhere: y up, larger, off centre."""
    trimesh.creation.icosphere(4, 0.6).export(tmp_path / "ball.ply")
    trimesh.creation.icosphere(4, 6).apply_translation([10, 20, 30]).export(tmp_path / "far.glb")
    return tmp_path


FAR_TO_WORLD = [[0.1, 0, 0, -1], [0, 0, -0.1, 3], [0, 0.1, 0, -2], [0, 0, 0, 1]]


@pytest.mark.slow
def test_real_meshes_over_t(meshes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A field whose ball shrinks with the noise, and at last is not there."""
    monkeypatch.setattr(over_t, "fuse_clean", lambda m, x, text, cameras, t: ball(0.6 - t / 2000))
    metric = GeometryOverT(GeometryOverTSpec(meshes=str(meshes), timesteps=(0, 200, 600, 2000), points=3000))
    assert set(metric.figures) >= {"chamfer_t000", "f_score_t200", "volume_iou_t600", "normal_error_t2000"}
    found = metric.measure(sample(), toy_model())
    assert [found[f"chamfer_t{t}"] for t in ("000", "200", "600")] == pytest.approx([0.01, 0.1, 0.3], abs=0.012)
    assert found["volume_iou_t000"] > 0.9 and found["volume_iou_t200"] == pytest.approx((0.5 / 0.6) ** 3, abs=0.06)
    worst = {"chamfer_t2000": 2.0, "f_score_t2000": 0.0, "volume_iou_t2000": 0.0, "normal_error_t2000": 90.0}
    assert found | worst == found
    placed = metric.measure(sample("far", mesh_to_world=FAR_TO_WORLD), toy_model())
    assert placed["chamfer_t000"] < 0.02
    variant = metric.measure(sample("far-v1", base="far", mesh_to_world=FAR_TO_WORLD), toy_model())
    assert variant == placed


def test_an_object_without_a_mesh_is_named(meshes: Path) -> None:
    metric = GeometryOverT(GeometryOverTSpec(meshes=str(meshes)))
    with pytest.warns(TuneMV3DWarning, match="no mesh of object 'chair'"):
        assert set(metric.measure(sample("chair"), toy_model()).values()) == {None}
    # A variant's mesh is another one, unless it is said how it lies.
    with pytest.warns(TuneMV3DWarning, match="no mesh of object 'ball-v1'"):
        metric.measure(sample("ball-v1", base="ball"), toy_model())


def test_meshes_that_cannot_be_used_are_refused(meshes: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"radius of 4\d.* as it is"):
        read_mesh(meshes / "far.glb")
    with pytest.raises(DatasetError, match="mesh_to_world"):
        read_mesh(meshes / "ball.ply", np.array(FAR_TO_WORLD))
    (tmp_path / "cut.ply").write_bytes(b"ply\nformat ascii 1.0\nelement vertex 9")
    with pytest.raises(DatasetError, match=r"cut\.ply: (cannot be read|has no triangles)"):
        read_mesh(tmp_path / "cut.ply")
    for folder in (tmp_path / "nowhere", tmp_path / "empty"):
        with pytest.raises(DatasetError, match="name them by object id"):
            GeometryOverT(GeometryOverTSpec(meshes=str(folder)))
        (tmp_path / "empty").mkdir(exist_ok=True)


def test_without_meshes_it_says_how_to_give_them() -> None:
    with pytest.raises(DatasetError, match=r'needs real meshes.*--metric .*"meshes": "FOLDER"'):
        GeometryOverT(GeometryOverTSpec())


def test_missing_libraries_are_named(meshes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surfaces, "find_spec", lambda name: None)
    with pytest.raises(ComponentError, match=r"needs skimage: pip install 'tunemv3d-eval\[surface\]'"):
        Topology(TopologySpec())
    with pytest.raises(ComponentError, match=r"pip install 'tunemv3d-eval\[surface\]'"):
        GeometryOverT(GeometryOverTSpec(meshes=str(meshes)))


def test_figures_at_several_t_are_one_plot() -> None:
    def mean(figure: str, value: float | None, control: str | None = "real") -> dict[str, object]:
        of = {"checkpoint": "a", "consistency": 1.0, "control": control, "figure": figure}
        return of | {"mean": value, "low": None, "high": None}

    figures = {f"chamfer_t{t}": {"higher_is_better": False} for t in ("050", "400", "950")}
    means = [mean("chamfer_t400", 0.2), mean("chamfer_t050", 0.1), mean("chamfer_t950", None), mean("hull_t", 1.0)]
    drawn = plots_over_t({"checkpoints": [{}], "figures": figures, "means": means})
    assert list(drawn) == ["chamfer_over_t"]
    svg = ElementTree.fromstring(drawn["chamfer_over_t"])
    texts = [element.text for element in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert {"chamfer (lower is better)", "50", "400", "real"} <= set(texts) and "950" not in texts
    (line,) = svg.iter("{http://www.w3.org/2000/svg}polyline")
    (x0, y0), (x1, y1) = (map(float, point.split(",")) for point in str(line.get("points")).split())
    assert x0 < x1 and y0 > y1  # more noise to the right, a larger distance above
