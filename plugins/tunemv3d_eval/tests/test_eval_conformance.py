"""Our metrics in the conformance kit."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import trimesh

from tunemv3d_core.testing import parametrize_with_checks

MESHES = TemporaryDirectory()
"""Of the kit's objects, whose ids are numbers."""
for number in range(3):
    trimesh.creation.icosphere(radius=0.5 + number / 10).export(Path(MESHES.name) / f"{number}.ply")


@parametrize_with_checks("metric", "hull-recall")
def test_hull_recall(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("metric", "leave-one-out")
def test_leave_one_out(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("metric", "opacity-iou")
def test_opacity_iou(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("metric", "pose-agreement")
def test_pose_agreement(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("metric", "colour")
def test_colour(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("metric", "reprojection")
def test_reprojection(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("metric", "split-half")
def test_split_half(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("metric", "r-precision")
def test_r_precision(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("metric", "named-type")
def test_named_type(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("metric", "part-colours")
def test_part_colours(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("metric", "kid")
def test_kid(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("metric", "cmmd")
def test_cmmd(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("metric", "diversity")
def test_diversity(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("metric", "nearest-training-object")
def test_nearest_training_object(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("metric", "topology", {"resolution": 16})
def test_topology(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks(
    "metric", "geometry-over-t", {"meshes": MESHES.name, "timesteps": (50, 950), "resolution": 16, "points": 500}
)
def test_geometry_over_t(check: Callable[[], None]) -> None:
    check()
